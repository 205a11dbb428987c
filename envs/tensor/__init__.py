"""Task families whose tasks are stepped side by side as tensors, on the learner's device."""
