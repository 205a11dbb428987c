"""Practice, one module per kind of family."""
