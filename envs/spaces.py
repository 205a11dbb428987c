"""Observation and action spaces in the form that policies are built from.

Every observation is carried as a float32 vector of D numbers: a discrete one holds its index (D = 1), anything
else is flattened. Every action is an int64 index (discrete), an int64 vector (multi-discrete) or a float32 vector
in [-1, 1] per dimension (continuous) that :meth:`ActionSpec.to_environment` scales to the environment's own bounds.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT32_MAX = np.finfo(np.float32).max
"""A bound that is not below it stands for no bound."""


class ObservationKind(StrEnum):
    """How an observation vector is to be read."""

    DISCRETE = "discrete"
    VECTOR = "vector"


class ActionKind(StrEnum):
    """How an action is chosen."""

    DISCRETE = "discrete"
    MULTI_DISCRETE = "multi_discrete"
    CONTINUOUS = "continuous"


@dataclass(frozen=True, kw_only=True)
class ObservationSpec:
    """What a policy observes.

    Attributes:
        kind: discrete (an index) or vector.
        size: number of different observations (discrete), or D, the length of the vector.
    """

    kind: ObservationKind
    size: int

    @property
    def width(self) -> int:
        """D, the number of float32 values an observation is carried in."""
        return 1 if self.kind is ObservationKind.DISCRETE else self.size


@dataclass(frozen=True, kw_only=True)
class ActionSpec:
    """What a policy chooses.

    Attributes:
        kind: discrete, multi-discrete or continuous.
        choices: number of choices per dimension (discrete: one entry); empty when continuous.
        low: lower bound per dimension in the environment's units; empty unless continuous.
        high: upper bound per dimension in the environment's units; empty unless continuous.
        start: the environment's number for choice 0, per dimension; empty when continuous.
    """

    kind: ActionKind
    choices: tuple[int, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    start: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """The number of values an action is carried in (1 when discrete)."""
        return len(self.low) if self.kind is ActionKind.CONTINUOUS else len(self.choices)

    def to_environment(self, action: NDArray[Any]) -> NDArray[Any]:
        """Turn policy actions into the environment's own numbers.

        A dimension is scaled, so that [-1, 1] spans the bounds, where float32 holds both bounds and their difference.
        Any other dimension is unbounded, and the number goes through as it is. Where all of [-1, 1] lies on the wrong
        side of its one bound, the number is shifted to begin at that bound, since all actions would be equal otherwise.

        Args:
            action: [..., width] policy actions: indices, or floats of which [-1, 1] spans the bounds.

        Returns:
            [..., width] in the environment's units: indices shifted by ``start``, or floats clipped to the bounds.
        """
        if self.kind is not ActionKind.CONTINUOUS:
            return action + np.asarray(self.start, dtype=np.int64)
        scaling = self._scaling
        scaled = scaling.low + (np.clip(action, -1.0, 1.0) + 1.0) * 0.5 * scaling.span
        bounded = np.where(scaling.is_scaled, scaled, action + scaling.shift)
        return np.clip(bounded, scaling.lowest, scaling.highest).astype(np.float32)

    @cached_property
    def _scaling(self) -> _Scaling:
        """How actions become the environment's numbers, computed once."""
        lowest, highest = _inner_float32(self.low, toward=np.inf), _inner_float32(self.high, toward=-np.inf)
        with np.errstate(over="ignore", invalid="ignore"):
            span = highest - lowest
        is_scaled = (np.abs(lowest) < FLOAT32_MAX) & (np.abs(highest) < FLOAT32_MAX) & np.isfinite(span)
        above, below = ~is_scaled & (lowest >= 1.0), ~is_scaled & (highest <= -1.0)
        shift = np.where(above, lowest + 1.0, np.where(below, highest - 1.0, 0.0))
        return _Scaling(
            low=np.where(is_scaled, lowest, 0.0).astype(np.float32),
            span=np.where(is_scaled, span, 0.0).astype(np.float32),
            is_scaled=is_scaled,
            shift=shift.astype(np.float32),
            lowest=lowest,
            highest=highest,
        )


@dataclass(frozen=True, kw_only=True)
class _Scaling:
    """The constants that turn a continuous action into the environment's numbers.

    Attributes:
        low: [n] what -1 becomes where a dimension is scaled; 0 elsewhere.
        span: [n] upper less lower bound where a dimension is scaled; 0 elsewhere.
        is_scaled: [n] whether float32 can hold both bounds and their difference.
        shift: [n] what is added where a dimension is not scaled.
        lowest: [n] the smallest float32 within the bounds.
        highest: [n] the largest float32 within the bounds.
    """

    low: NDArray[np.float32]
    span: NDArray[np.float32]
    is_scaled: NDArray[np.bool_]
    shift: NDArray[np.float32]
    lowest: NDArray[np.float32]
    highest: NDArray[np.float32]


def _inner_float32(bounds: tuple[float, ...], *, toward: float) -> NDArray[np.float32]:
    """Return bounds as float32 values; one that float32 cannot hold is rounded ``toward`` the inside."""
    exact = np.asarray(bounds, np.float64)
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
        is_outside = rounded < exact if toward > 0 else rounded > exact
        return np.where(is_outside, np.nextafter(rounded, np.float32(toward)), rounded)


@dataclass(frozen=True, kw_only=True)
class SpacePair:
    """An observation and an action space: what decides which encoder and heads a family uses."""

    observation: ObservationSpec
    action: ActionSpec

    @cached_property
    def key(self) -> str:
        """A short name that is equal exactly when the pair is equal, fit for a parameter's name."""
        digest = hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:8]
        observation = f"{self.observation.kind[0]}{self.observation.size}"
        action = f"{self.action.kind[0]}{'x'.join(map(str, self.action.choices)) or self.action.width}"
        return f"{observation}_{action}_{digest}"

    def to_json(self) -> dict[str, Any]:
        """The pair as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SpacePair:
        """The pair that :meth:`to_json` wrote."""
        observation, action = values["observation"], values["action"]
        return cls(
            observation=ObservationSpec(kind=ObservationKind(observation["kind"]), size=observation["size"]),
            action=ActionSpec(
                kind=ActionKind(action["kind"]),
                choices=tuple(action["choices"]),
                low=tuple(action["low"]),
                high=tuple(action["high"]),
                start=tuple(action["start"]),
            ),
        )
