"""A synthetic cohort: anatomy (`anatomy`), physics (`contrast`), scanning (`scan`, `series`) and files (`study`)."""
