"""RL² on Bernoulli bandits in JAX: a peer for comparison."""
