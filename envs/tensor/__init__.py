"""Task families whose tasks are stepped in parallel as tensors, on the learner's device."""
