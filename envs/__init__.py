"""Task families, their variations, and the workers that step them."""
