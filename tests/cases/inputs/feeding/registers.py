"""A module that registers an id when it is imported."""

import gymnasium as gym
from my_env import MyEnv

gym.register("My/Line-v0", entry_point=MyEnv, max_episode_steps=30)
