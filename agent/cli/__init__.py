"""The command line: thin commands over the store, which work with the daemon up or down."""
