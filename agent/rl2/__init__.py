"""RL² (Duan et al. 2016, arXiv:1611.02779): a recurrent policy over trials, with an in-trial memory, trained by PPO."""
