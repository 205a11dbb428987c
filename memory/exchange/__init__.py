"""Exchange of trials between stores: one file with trials of chosen families, and Minari data sets."""
