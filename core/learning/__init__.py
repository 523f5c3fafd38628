"""Behind `core.training`: recipes, the look before a start, stages, checkpoints, stored features, lessons."""
