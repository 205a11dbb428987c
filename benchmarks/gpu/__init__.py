"""Training speed of RL² on a GPU."""
