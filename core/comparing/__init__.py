"""All runs in a table, what people say of them, and some against each other with intervals by patient."""
