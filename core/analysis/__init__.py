"""What is worked out of a run's answers, once, for the Errors page and the report."""
