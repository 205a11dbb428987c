"""The maintenance of a store: prune, check, repair and restore."""
