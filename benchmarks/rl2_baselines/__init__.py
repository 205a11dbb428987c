"""Baselines and ceilings for RL², on the same tasks with the same noise: the methods of Duan et al. 2016."""
