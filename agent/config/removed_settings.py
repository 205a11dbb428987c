"""The settings that were removed. Each is accepted with a warning for one release and has no effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.learners.rl2.removed_settings import REMOVED as REMOVED_RL2

_OUTER_STEPS = "consolidation makes no slow weights any more; the learner's own scored better (docs/lab/outer-steps.md)"

REMOVED_SETTINGS: dict[str, str] = {
    "consolidation.outer_step": _OUTER_STEPS,
    "consolidation.rate": _OUTER_STEPS,
    "consolidation.outer_updates": _OUTER_STEPS,
    "consolidation.outer_limit_s": _OUTER_STEPS,
    "consolidation.inner_updates": _OUTER_STEPS,
    "consolidation.maml_rate": _OUTER_STEPS,
    "consolidation.meta_sgd_rate": _OUTER_STEPS,
    **{f"rl2.{name}": setting.reason for name, setting in REMOVED_RL2.items()},
}
"""The reason of each removal, by dotted name. Files, variables and options of the command line use this table alike."""


@dataclass(frozen=True, kw_only=True)
class IgnoredValue:
    """A value of a removed setting, which has no effect.

    Attributes:
        key: the setting's dotted name.
        value: the value in its written form.
        source: the source of the value (an option, a variable, the settings file).
        reason: why the setting was removed.
    """

    key: str
    value: str
    source: str
    reason: str

    def __str__(self) -> str:
        """Return the warning as one line for users."""
        return f"{self.key} = {self.value} ({self.source}) has no effect: {self.reason}"


def split_removed(
    values: Mapping[str, Any],
    *,
    source: Callable[[list[str]], str],
    removed: Mapping[str, str] = REMOVED_SETTINGS,
) -> tuple[dict[str, Any], list[IgnoredValue]]:
    """Return the values without those of removed settings, and the values that were left out.

    Args:
        values: values by section and name, from one source.
        source: returns the source of a value in its written form, given the parts of the setting's name.
        removed: the reason of each removal, by dotted name.
    """
    kept: dict[str, Any] = {}
    ignored: list[IgnoredValue] = []
    for section, inner in values.items():
        if not isinstance(inner, Mapping):
            kept[section] = inner
            continue
        gone = [name for name in inner if f"{section}.{name}" in removed]
        ignored += [
            IgnoredValue(
                key=f"{section}.{name}",
                value=repr(inner[name]),
                source=source([section, name]),
                reason=removed[f"{section}.{name}"],
            )
            for name in gone
        ]
        kept[section] = {name: value for name, value in inner.items() if name not in gone}
    return kept, ignored
