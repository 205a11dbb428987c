"""What the current trial has seen, read at each step."""
