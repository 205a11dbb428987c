"""The finite-horizon Gittins index of a Bernoulli arm with a uniform prior.

The index of an arm with w wins, l losses and m pulls left is the payment λ per pull at which pulling it further and
stopping have equal value (Gittins 1979; for finite horizons Lattimore 2016, arXiv:1511.06014):

Q_m(w, l; λ) = p - λ + p V_{m-1}(w+1, l) + (1 - p) V_{m-1}(w, l+1),   V = max(0, Q),   p = (w + 1) / (w + l + 2).

The index is the zero of Q in λ, found between points of a grid by linear interpolation (Q is piecewise linear).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

GRID_POINTS = 65


class GittinsIndices:
    """The indices of every state that n pulls can reach, in a table for each number of pulls left.

    Args:
        num_pulls: n.
        progress: called with the share computed so far.
    """

    def __init__(self, num_pulls: int, *, progress: Callable[[float], None] | None = None) -> None:
        self._tables: list[NDArray[np.float32]] = []
        grid = np.linspace(0.0, 1.0, GRID_POINTS, dtype=np.float32)
        value = np.zeros((GRID_POINTS, num_pulls + 1, num_pulls + 1), np.float32)
        for pulls_left in range(1, num_pulls + 1):
            size = num_pulls - pulls_left + 1
            wins, losses = np.ogrid[:size, :size]
            chance = ((wins + 1) / (wins + losses + 2)).astype(np.float32)
            value = chance * value[:, 1 : size + 1, :size] + (1 - chance) * value[:, :size, 1 : size + 1]
            value += chance
            value -= grid[:, None, None]
            self._tables.append(_zeros(value, grid))
            np.maximum(value, 0.0, out=value)
            if progress is not None:
                progress(1.0 - (size / num_pulls) ** 3)

    def table(self, pulls_left: int) -> NDArray[np.float32]:
        """Return the index by wins and losses, with this many pulls left, including the one to be chosen."""
        return self._tables[pulls_left - 1]


def _zeros(value: NDArray[np.float32], grid: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return where each column of values, which falls along the grid, crosses zero."""
    after = np.clip((value > 0).sum(0), 1, len(grid) - 1)
    high = np.take_along_axis(value, after[None] - 1, 0)[0]
    low = np.take_along_axis(value, after[None], 0)[0]
    share = high / np.maximum(high - low, 1e-12)
    zeros: NDArray[np.float32] = (grid[after - 1] + share * (grid[1] - grid[0])).astype(np.float32)
    return zeros
