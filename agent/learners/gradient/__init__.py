"""Learners that adapt by gradient steps: MAML, Reptile, Meta-SGD, PLATIPUS."""
