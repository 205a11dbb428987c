"""Descriptions of task families: the environment, the variations of its tasks, and the scale of its scores."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from envs.errors import FamilySpecError
from envs.gymnasium.variations import Variation
from envs.gymnasium.wrappers import EnvWrapper
from envs.json_fields import (
    ARRAY,
    COUNT,
    FLAG,
    NULL,
    NUMBER,
    OBJECT,
    TEXT,
    FieldTypes,
    checked_fields,
    require_texts,
    unreadable,
)
from envs.kinds import FamilyKind
from envs.reference import MeasuredReference, ReferenceRule

DEFAULT_IMAGE_SIZE = 64
"""The largest side of an image. 64 x 64 pixels cost a policy on a CPU about a third of what 84 x 84 cost."""

MAX_IMAGE_SIZE = 128

FAMILY_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")


class FamilySource(StrEnum):
    """A kind of source of a family's tasks."""

    TENSOR = "tensor"
    """Tasks that are stepped as tensors on the trainer's device; ``entry`` names a built-in tensor family."""

    GYMNASIUM = "gymnasium"
    """Tasks that are stepped one by one in a worker process; ``entry`` is an environment id or ``module:Class``."""

    FEW_SHOT = "few_shot"
    """Supervised tasks with a support and a query set; ``entry`` is a folder or zip file of images, or built in."""

    @property
    def kind(self) -> FamilyKind:
        """The kind of the families with this source."""
        return FamilyKind.FEW_SHOT if self is FamilySource.FEW_SHOT else FamilyKind.ENVIRONMENTS


class Split(StrEnum):
    """A split of a family's tasks. The two splits never share a task's seed."""

    TRAINING = "training"
    HELD_OUT = "held_out"


LARGEST_COUNT = 2**31 - 1
"""Largest count in a spec: tensors and workers hold counts as 32-bit numbers."""


@dataclass(frozen=True, kw_only=True)
class FamilySpec:
    """A distribution over tasks that share observation and action spaces.

    Attributes:
        name: lower-case name, unique in a store; metrics have it as a label.
        source: the source of the tasks.
        entry: a built-in family's name, a Gymnasium id, ``module:Class``, or a folder or zip file of images.
        kwargs: keyword arguments for the environment or family (``envs.few_shot.options`` lists those of few-shot
            families).
        variations: the differences between tasks, in addition to the seed.
        wrappers: the wrappers that the worker applies to each copy of the environment, in their order.
        episodes_per_trial: episodes in one trial.
        max_episode_steps: steps after which an episode is truncated; None keeps the environment's own limit.
        random_return: mean trial return of uniformly random actions (score 0); None until measured.
        reference_return: trial return that counts as score 1; None follows ``reference_rule``.
        reference_source: source of ``reference_return``, as text for people.
        reference_rule: rule for the reference where no return is declared.
        reference_steps: environment steps of training for a measured reference; 0 for no measurement.
        measured_reference: the measurement that gave the reference; None if it was not measured.
        python: interpreter that runs the family's workers; None for learnd's own.
        import_paths: folders to add to the worker's import path, for ``module:Class`` entries.
        learner: the learner that practises it: "rl2", or a name of ``agent.learners.registry`` for few-shot tasks.
        recurring: size of the pool of training tasks that recur, of environments; 0 for tasks that are all new.
            Held-out tasks are always new.
        image_size: largest side in pixels of an image that the policy observes; larger ones are reduced. 0 flattens
            images to vectors, as families of learnd 0.1.0 do.
        network: whether the worker may open network connections.
        copies: most copies of the environment that may share a process; 0 for no bound.
    """

    name: str
    source: FamilySource
    entry: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    variations: tuple[Variation, ...] = ()
    episodes_per_trial: int = 3
    max_episode_steps: int | None = None
    random_return: float | None = None
    reference_return: float | None = None
    reference_source: str = ""
    reference_rule: ReferenceRule = ReferenceRule.THRESHOLD
    reference_steps: int = 0
    measured_reference: MeasuredReference | None = None
    python: str | None = None
    import_paths: tuple[str, ...] = ()
    learner: str = "rl2"
    recurring: int = 0
    wrappers: tuple[EnvWrapper, ...] = ()
    image_size: int = DEFAULT_IMAGE_SIZE
    network: bool = False
    copies: int = 0

    def __post_init__(self) -> None:
        if not FAMILY_NAME.fullmatch(self.name):
            raise FamilySpecError(
                operation="describing family",
                subject=self.name,
                found="the name is not 1 to 48 of a-z, 0-9, '-' and '_', starting with a letter or digit.",
                hint="Choose another with --name, or as `name` in a family file.",
            )
        if self.episodes_per_trial < 1:
            raise FamilySpecError(
                operation="describing family",
                subject=self.name,
                found=f"episodes_per_trial is {self.episodes_per_trial}.",
                hint="A trial has at least 1 episode.",
            )
        if self.recurring < 0:
            raise FamilySpecError(
                operation="describing family",
                subject=self.name,
                found=f"recurring is {self.recurring}.",
                hint="It is a number of tasks, or 0.",
            )
        if self.copies < 0:
            raise FamilySpecError(
                operation="describing family",
                subject=self.name,
                found=f"copies is {self.copies}.",
                hint="It is the number of copies that may share a process, or 0 for no bound.",
            )
        for count in ("episodes_per_trial", "max_episode_steps", "recurring", "copies"):
            if (getattr(self, count) or 0) > LARGEST_COUNT:
                raise FamilySpecError(
                    operation="describing family",
                    subject=self.name,
                    found=f"{count} is {getattr(self, count)}.",
                    hint=f"The largest is {LARGEST_COUNT}.",
                )
        if not 0 <= self.image_size <= MAX_IMAGE_SIZE:
            raise FamilySpecError(
                operation="describing family",
                subject=self.name,
                found=f"image_size is {self.image_size}.",
                hint=f"It is the largest side of an image, up to {MAX_IMAGE_SIZE}; 0 flattens images to vectors.",
            )

    def to_json(self) -> dict[str, Any]:
        """Return the description as JSON values. What is added to the description is left out where it says nothing."""
        values = asdict(self)
        for added in ("wrappers", "recurring", "copies"):
            if not values[added]:
                del values[added]
        return values

    @classmethod
    def from_json(cls, values: object) -> FamilySpec:
        """Return the description from the values that :meth:`to_json` returned.

        Fields that an older version did not write have their defaults, except two: its families flatten images
        (``image_size``), and their workers have the network.

        Raises:
            FamilySpecError: the values are damaged, or a newer version wrote them.
        """
        fields = checked_fields(values, FIELD_TYPES, required=("name", "source", "entry"), subject="spec")
        if fields["source"] not in list(FamilySource):
            raise unreadable("spec", f"this version of learnd does not know its source, {fields['source']!r}.")
        import_paths = fields.get("import_paths", ())
        require_texts(import_paths, name="import_paths", subject="spec")
        variations = tuple(Variation.from_json(variation) for variation in fields.get("variations", ()))
        rule, measured = fields.get("reference_rule", ReferenceRule.THRESHOLD), fields.get("measured_reference")
        if rule not in list(ReferenceRule):
            raise unreadable("spec", f"this version of learnd does not know its reference_rule, {rule!r}.")
        typed = {
            "source": FamilySource(fields["source"]),
            "variations": variations,
            "wrappers": tuple(EnvWrapper.from_json(wrapper) for wrapper in fields.get("wrappers", ())),
            "import_paths": tuple(import_paths),
            "reference_rule": ReferenceRule(rule),
            "measured_reference": None if measured is None else MeasuredReference.from_json(measured),
            "image_size": fields.get("image_size", 0),
            "network": fields.get("network", True),
        }
        return cls(**{**fields, **typed})


LAP = 16
"""Exposures that one time through the pool of tasks counts as; practice plays a task at most 8 times in a row."""

_Numbers = TypeVar("_Numbers")


def in_pool(spec: FamilySpec, split: Split, tasks: _Numbers, exposures: _Numbers) -> tuple[_Numbers, _Numbers]:
    """Return the numbers of tasks in the family's pool, and how often they were begun before.

    Args:
        spec: the family. Without tasks that recur, the numbers are the indices.
        split: training or held-out tasks; held-out tasks do not recur.
        tasks: an index or a tensor of indices.
        exposures: how often the tasks of these indices were begun before.
    """
    if not spec.recurring or split is not Split.TRAINING:
        return tasks, exposures
    numbers: Any = tasks
    return numbers % spec.recurring, exposures + numbers // spec.recurring * LAP


FIELD_TYPES: FieldTypes = {
    "name": TEXT,
    "source": TEXT,
    "entry": TEXT,
    "kwargs": OBJECT,
    "variations": ARRAY,
    "episodes_per_trial": COUNT,
    "max_episode_steps": (*COUNT, NULL),
    "random_return": (*NUMBER, NULL),
    "reference_return": (*NUMBER, NULL),
    "reference_source": TEXT,
    "reference_rule": TEXT,
    "reference_steps": COUNT,
    "measured_reference": (*OBJECT, NULL),
    "python": (*TEXT, NULL),
    "import_paths": ARRAY,
    "learner": TEXT,
    "recurring": COUNT,
    "wrappers": ARRAY,
    "image_size": COUNT,
    "network": FLAG,
    "copies": COUNT,
}
"""The JSON types of the fields of a :class:`FamilySpec`."""
