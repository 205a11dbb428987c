"""The process that measures a family's reference return with a PPO agent of stable-baselines3, at low priority."""
