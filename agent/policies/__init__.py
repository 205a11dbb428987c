"""The public API: load a published policy, act with it, classify images with it."""
