"""Tasks that recur, with and without the episodic memory."""
