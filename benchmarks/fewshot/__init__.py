"""Few-shot classification of characters."""
