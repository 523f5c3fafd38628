"""What the views of Train are called, in the address too."""

NEW = "New run"
QUEUE = "Queue"
RUNS = "Runs"
COMPARE = "Compare"
LESSONS = "Lessons"
MODEL = "The model"
