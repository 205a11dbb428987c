"""An environment whose reset takes a while."""

import time

import gymnasium as gym
import numpy as np


class Scene(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, seconds=0.1):
        self.seconds = seconds

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        time.sleep(self.seconds)
        self.count = 0
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}

    def step(self, action):
        self.count += 1
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), float(action), self.count >= 20, False, {}
