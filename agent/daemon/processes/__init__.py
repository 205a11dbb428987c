"""The processes that the daemon starts: their commands, supervision and exits."""
