"""Behind `core.cohort`: scanning, the slice table, and what Browse counts, filters and compares."""
