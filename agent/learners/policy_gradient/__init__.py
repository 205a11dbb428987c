"""Learners that adapt policies by policy gradients."""
