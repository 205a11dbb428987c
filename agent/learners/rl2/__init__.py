"""RL²: a recurrent policy trained over whole trials."""
