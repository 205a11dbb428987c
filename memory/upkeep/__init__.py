"""Care of a store: prune, check, repair, restore."""
