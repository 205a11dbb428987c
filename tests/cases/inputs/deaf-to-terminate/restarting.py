"""An environment that starts a simulator for each episode and ends it by terminate() and wait()."""

import subprocess

import gymnasium as gym
import numpy as np


class Restarting(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)
    simulator = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.close()
        self.simulator = subprocess.Popen(["/bin/sleep", "4713"])
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.count += 1
        return np.zeros(1, np.float32), float(action), self.count >= 10, False, {}

    def close(self):
        if self.simulator is not None:
            self.simulator.terminate()
            self.simulator.wait()
            self.simulator = None
