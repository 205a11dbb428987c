"""What RL² is measured against, on the same tasks with the same noise: the methods of Duan et al. 2016, ceilings."""
