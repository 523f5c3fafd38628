"""Commands of ``python -m core`` that have commands of their own."""
