"""The tables of the store, one module each."""
