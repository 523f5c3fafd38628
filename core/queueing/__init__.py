"""Behind `core.jobs`: places in the queue, devices, runners near and far, work beside the queue."""
