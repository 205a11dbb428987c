"""Files of the store: parameters, episodes, backups."""
