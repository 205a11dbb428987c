"""Adapting policies by policy gradients."""
