"""The daemon's use of the store: threads with a store, its snapshot, and the guard of the data folder."""
