"""Learning in the foreground: one learner on one family for a budget, and several of them side by side."""
