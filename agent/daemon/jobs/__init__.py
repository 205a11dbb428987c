"""Jobs: which one runs in which lane, what runs it, and what is recorded of it."""
