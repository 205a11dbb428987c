"""The command line: short commands that read and write the store, whether or not the daemon runs."""
