"""Programs to read: each is complete in one file and depends on nothing else of this project."""
