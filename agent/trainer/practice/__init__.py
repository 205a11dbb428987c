"""How each kind of family is practised."""
