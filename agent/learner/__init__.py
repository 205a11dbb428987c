"""The learner process: it owns the device, rolls out, updates, scores and consolidates, and commits what it did."""
