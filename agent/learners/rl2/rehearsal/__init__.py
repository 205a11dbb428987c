"""Rehearsal: training on stored trials of other families, so that what was learned of them stays."""
