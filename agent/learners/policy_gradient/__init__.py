"""MAML, Reptile and Meta-SGD over task families: they adapt a policy by policy gradients from a few episodes."""
