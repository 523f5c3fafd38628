"""How headers become labels, and what people say instead: rules, words, tables, queues."""
