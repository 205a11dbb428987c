"""Hostile environments, one a file, against the real worker."""
