"""Descriptions of observation and action spaces, from which policies are built.

Every observation is a row of D values of one type:

- discrete: the index, as a float32 (D = 1);
- vector: the flattened values of the observation, as float32;
- image: the bytes of the observation, as uint8: first the float32 values of its parts that are not images (none for an
  observation that is one image), then the pixels of each image, rows of columns of channels. Images stay bytes until
  the policy's encoder decodes them.

An action is a sequence of choices followed by a sequence of numbers. There are four kinds of actions:

- discrete, one choice: an int64 index,
- multi-discrete, several choices: an int64 vector,
- continuous, numbers: a float32 vector in [-1, 1] per dimension, which :meth:`ActionSpec.to_environment` scales to the
  environment's own bounds,
- mixed, choices and numbers: a float32 vector of indices, then numbers in [-1, 1].
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT32_MAX = np.finfo(np.float32).max
"""A bound whose absolute value is not below this means that there is no bound."""


class ObservationKind(StrEnum):
    """A kind of observation."""

    DISCRETE = "discrete"
    VECTOR = "vector"
    IMAGE = "image"


class ActionKind(StrEnum):
    """A kind of action."""

    DISCRETE = "discrete"
    MULTI_DISCRETE = "multi_discrete"
    CONTINUOUS = "continuous"
    MIXED = "mixed"


@dataclass(frozen=True, kw_only=True)
class ImageShape:
    """The size of an image, after the worker has resized it."""

    height: int
    width: int
    channels: int

    @property
    def num_bytes(self) -> int:
        """The number of its values, one byte each."""
        return self.height * self.width * self.channels


@dataclass(frozen=True, kw_only=True)
class ObservationSpec:
    """A description of an observation space.

    Attributes:
        kind: discrete (an index), vector, or image (at least one image, and a vector of the other parts).
        size: number of different observations (discrete), length of the vector, or number of values that are not pixels
            (image).
        images: the images of an observation, in the order of its parts; empty unless the kind is image.
        num_distinct: the number of different observations of a vector of choices and small whole numbers; 0 if it is
            unknown or large.
    """

    kind: ObservationKind
    size: int
    images: tuple[ImageShape, ...] = ()
    num_distinct: int = 0

    @property
    def width(self) -> int:
        """D, the number of values of an observation as it travels."""
        if self.kind is ObservationKind.IMAGE:
            return self.numbers_bytes + sum(image.num_bytes for image in self.images)
        return 1 if self.kind is ObservationKind.DISCRETE else self.size

    @property
    def dtype(self) -> str:
        """The type of the values of an observation as it travels, by numpy's and torch's name."""
        return "uint8" if self.kind is ObservationKind.IMAGE else "float32"

    @property
    def numbers_bytes(self) -> int:
        """The number of bytes before the first pixel of an observation with images: its float32 values."""
        return 4 * self.size

    def to_json(self) -> dict[str, Any]:
        """Return the description as JSON values; without what learnd 0.1.0 did not know, where there is none of it."""
        return {name: value for name, value in asdict(self).items() if value or name in ("kind", "size")}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ObservationSpec:
        """Return the description from the values that :meth:`to_json` returned."""
        images = tuple(ImageShape(**image) for image in values.get("images", ()))
        kind, num_distinct = ObservationKind(values["kind"]), values.get("num_distinct", 0)
        return cls(kind=kind, size=values["size"], images=images, num_distinct=num_distinct)


@dataclass(frozen=True, kw_only=True)
class ActionSpec:
    """A description of an action space.

    Attributes:
        kind: discrete, multi-discrete, continuous or mixed.
        choices: number of choices per dimension (discrete: one entry); empty when continuous.
        low: lower bound per number in the environment's units; empty unless continuous or mixed.
        high: upper bound per number in the environment's units; empty unless continuous or mixed.
        start: the environment's number for choice 0, per dimension of choices; empty when continuous.
    """

    kind: ActionKind
    choices: tuple[int, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    start: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """The number of values of an action (1 if discrete)."""
        return len(self.choices) + len(self.low)

    @property
    def num_choices(self) -> int:
        """The number of choices, summed over the dimensions of choices."""
        return sum(self.choices)

    @property
    def num_numbers(self) -> int:
        """The number of numbers."""
        return len(self.low)

    @property
    def has_numbers(self) -> bool:
        """Return whether an action has numbers, so that it is a vector of floats."""
        return bool(self.low)

    @property
    def is_single(self) -> bool:
        """Return whether there is one action only, so that nothing is chosen."""
        return all(number == 1 for number in self.choices) and self.low == self.high

    @cached_property
    def choices_part(self) -> ActionSpec:
        """The choices of a mixed action alone."""
        return ActionSpec(kind=ActionKind.MULTI_DISCRETE, choices=self.choices, start=self.start)

    @cached_property
    def numbers_part(self) -> ActionSpec:
        """The numbers of a mixed action alone."""
        return ActionSpec(kind=ActionKind.CONTINUOUS, low=self.low, high=self.high)

    def to_environment(self, action: NDArray[Any]) -> NDArray[Any]:
        """Convert policy actions to the environment's own numbers.

        - A dimension is scaled, so that [-1, 1] spans its bounds, if float32 can hold both bounds and their difference.
        - Any other dimension counts as unbounded, and its number is not scaled.
        - If all of [-1, 1] is outside the only bound of an unbounded dimension, the number is shifted to start at that
          bound. Otherwise all actions would be clipped to the same value.

        Args:
            action: [..., width] policy actions: indices, then floats in [-1, 1].

        Returns:
            [..., width] in the environment's units: indices shifted by ``start``, then floats clipped to the bounds.
        """
        if self.kind is ActionKind.MIXED:
            chosen, numbers = np.split(action, [len(self.choices)], axis=-1)
            shifted = chosen.astype(np.float64) + np.asarray(self.start, dtype=np.float64)
            return np.concatenate([shifted, self.numbers_part.to_environment(numbers)], axis=-1)
        if self.kind is not ActionKind.CONTINUOUS:
            return action + np.asarray(self.start, dtype=np.int64)
        scaling = self._scaling
        scaled = scaling.low + (np.clip(action, -1.0, 1.0) + 1.0) * 0.5 * scaling.span
        bounded = np.where(scaling.is_scaled, scaled, action + scaling.shift)
        return np.clip(bounded, scaling.lowest, scaling.highest).astype(np.float32)

    @cached_property
    def _scaling(self) -> _Scaling:
        """The constants of the conversion to the environment's numbers, computed once."""
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
    """The constants that convert a continuous action to the environment's numbers.

    Attributes:
        low: [n] lower bound of a scaled dimension, to which -1 is mapped; 0 for other dimensions.
        span: [n] upper bound minus lower bound of a scaled dimension; 0 for other dimensions.
        is_scaled: [n] whether float32 can hold both bounds and their difference.
        shift: [n] number to add to the action of a dimension that is not scaled.
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
    """Return bounds as float32 values; a bound that float32 cannot hold is rounded ``toward`` the inside."""
    exact = np.asarray(bounds, np.float64)
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
        is_outside = rounded < exact if toward > 0 else rounded > exact
        return np.where(is_outside, np.nextafter(rounded, np.float32(toward)), rounded)


@dataclass(frozen=True, kw_only=True)
class SpacePair:
    """An observation and an action space. The pair determines the encoder and heads that a family uses."""

    observation: ObservationSpec
    action: ActionSpec

    @cached_property
    def key(self) -> str:
        """A short name that identifies the pair and can be a part of a parameter's name."""
        digest = hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:8]
        observation = f"{self.observation.kind[0]}{self.observation.size}"
        action = f"{self.action.kind[0]}{'x'.join(map(str, self.action.choices)) or self.action.width}"
        if self.action.kind is ActionKind.MIXED:
            action = f"{action}n{self.action.num_numbers}"
        return f"{observation}_{action}_{digest}"

    def without_num_distinct(self) -> SpacePair:
        """Return the pair without the number of different observations, which an earlier learnd did not count."""
        return replace(self, observation=replace(self.observation, num_distinct=0))

    def described_as(self, known: SpacePair) -> SpacePair:
        """Return the pair with no more detail than a known one, so that what an earlier learnd described stays equal.

        Args:
            known: the pair as it was described when a family was admitted or a version was written.
        """
        return self if known.observation.num_distinct else self.without_num_distinct()

    def to_json(self) -> dict[str, Any]:
        """Return the pair as JSON values."""
        return {"observation": self.observation.to_json(), "action": asdict(self.action)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SpacePair:
        """Return the pair from the values that :meth:`to_json` returned."""
        action = values["action"]
        return cls(
            observation=ObservationSpec.from_json(values["observation"]),
            action=ActionSpec(
                kind=ActionKind(action["kind"]),
                choices=tuple(action["choices"]),
                low=tuple(action["low"]),
                high=tuple(action["high"]),
                start=tuple(action["start"]),
            ),
        )
