"""The files of the store: parameters, episodes and backups."""
