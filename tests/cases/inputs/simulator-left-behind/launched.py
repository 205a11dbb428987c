"""An environment whose simulator has a session and variables of its own, and which fails after a few steps."""

import subprocess

import gymnasium as gym
import numpy as np


class Launched(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self):
        self.simulator = subprocess.Popen(["/bin/sleep", "4711"], env={"PATH": "/usr/bin:/bin"}, start_new_session=True)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.count += 1
        if self.count > 5:
            raise RuntimeError("the simulator is gone")
        return np.zeros(1, np.float32), float(action), False, False, {}
