"""A synthetic cohort from anatomy (`anatomy`), physics (`contrast`), scanning (`render`) and files (`study`)."""
