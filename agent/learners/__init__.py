"""Every learning algorithm."""
