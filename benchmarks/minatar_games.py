"""The games of MinAtar (Young & Tian 2019, arXiv:1903.03176) on one space pair, as a Gymnasium environment.

Every game has all six actions and 10 × 10 cells; the channels of a game are filled up with zeros to those of the game
with the most. MinAtar itself is not a dependency of learnd: ``pip install --no-deps minatar``.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

GAMES = ("breakout", "asterix", "space_invaders", "freeway", "seaquest")
NUM_ACTIONS = 6
SIZE = 10
MAX_CHANNELS = 10
"""Channels of Seaquest, which has the most."""


class MinAtarGame(gymnasium.Env[NDArray[np.float32], np.int64]):
    """A game of MinAtar whose observation is its cells as one vector.

    Args:
        game: one of ``GAMES``.
    """

    def __init__(self, game: str) -> None:
        from minatar import Environment

        self._game = Environment(game)
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (SIZE * SIZE * MAX_CHANNELS,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(NUM_ACTIONS)

    @override
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self._game.seed(seed % 2**32)
        self._game.reset()
        self._game.last_action = 0
        return self._observation(), {}

    @override
    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        reward, is_over = self._game.act(int(action))
        return self._observation(), float(reward), bool(is_over), False, {}

    def _observation(self) -> NDArray[np.float32]:
        cells = self._game.state()
        missing = MAX_CHANNELS - cells.shape[-1]
        return np.pad(cells, ((0, 0), (0, 0), (0, missing))).astype(np.float32).reshape(-1)
