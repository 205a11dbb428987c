"""Tests of learning in the foreground."""
