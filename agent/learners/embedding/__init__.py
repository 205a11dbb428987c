"""Learners that adapt by comparing embeddings: Prototypical and Matching Networks, VERSA."""
