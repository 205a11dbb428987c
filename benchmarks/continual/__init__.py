"""Learning of sequences of families one after another: what is kept, and what it helps."""
