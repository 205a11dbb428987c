"""The trainer: the process that owns the device and trains."""
