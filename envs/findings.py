"""Findings of a check of a family: their kinds, those that refuse a family, and what to do about each."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from envs.errors import EnvsError, FamilySpecError, WorkerFaultError


class Severity(StrEnum):
    """The consequence of a finding for the family."""

    REFUSED = "refused"
    WARNING = "warning"
    NOTE = "note"


class FindingKind(StrEnum):
    """A kind of finding."""

    FAULT = "fault"
    DESCRIPTION = "description"
    UNSUPPORTED_SPACE = "unsupported_space"
    OLD_INTERFACE = "old_interface"
    RESET_RESULT = "reset_result"
    REWARD_ON_RESET = "reward_on_reset"
    STEP_RESULT = "step_result"
    INFO_NOT_DICT = "info_not_dict"
    FLAG_NOT_BOOL = "flag_not_bool"
    MALFORMED_OBSERVATION = "malformed_observation"
    MALFORMED_REWARD = "malformed_reward"
    NOT_FINITE = "not_finite"
    ACTION_EDGE = "action_edge"
    SPACE_CHANGED = "space_changed"
    CHECKER_REJECTS = "checker_rejects"
    SHARED_WORLD = "shared_world"
    VARIATION_LOST = "variation_lost"
    NO_END = "no_end"
    REFERENCE_TOO_LOW = "reference_too_low"
    SEED_IGNORED = "seed_ignored"
    RESET_KEEPS_STATE = "reset_keeps_state"
    GLOBAL_RANDOM = "global_random"
    OUTSIDE_SPACE = "outside_space"
    WRONG_DTYPE = "wrong_dtype"
    UNUSUAL_REWARD = "unusual_reward"
    TRUNCATION_MISSING = "truncation_missing"
    CLOSE_FAILED = "close_failed"
    ACTION_MASK = "action_mask"
    CONTEXT_UNUSED = "context_unused"
    ONE_ACTION = "one_action"
    SHARED_STATE = "shared_state"
    VARIATION_CHANGED = "variation_changed"
    VARIATION_WITHOUT_EFFECT = "variation_without_effect"
    CHECKER = "checker"
    NOT_CHECKED = "not_checked"
    FEW_EPISODES = "few_episodes"
    NO_STEP_LIMIT = "no_step_limit"
    THRESHOLD_UNUSED = "threshold_unused"
    SEED_WITHOUT_EFFECT = "seed_without_effect"


KEEP_APART = (
    "Many copies run in one process: keep the state of an environment in its instance, not in its class, its module or "
    "one shared simulation."
)

WARNINGS = frozenset(
    {
        FindingKind.SEED_IGNORED,
        FindingKind.RESET_KEEPS_STATE,
        FindingKind.GLOBAL_RANDOM,
        FindingKind.OUTSIDE_SPACE,
        FindingKind.WRONG_DTYPE,
        FindingKind.UNUSUAL_REWARD,
        FindingKind.TRUNCATION_MISSING,
        FindingKind.CLOSE_FAILED,
        FindingKind.ACTION_MASK,
        FindingKind.CONTEXT_UNUSED,
        FindingKind.ONE_ACTION,
        FindingKind.SHARED_STATE,
        FindingKind.VARIATION_CHANGED,
        FindingKind.VARIATION_WITHOUT_EFFECT,
        FindingKind.CHECKER,
        FindingKind.NOT_CHECKED,
        FindingKind.FEW_EPISODES,
        FindingKind.NO_STEP_LIMIT,
        FindingKind.THRESHOLD_UNUSED,
    }
)
"""Kinds with which a family can be practised."""

NOTES = frozenset({FindingKind.SEED_WITHOUT_EFFECT})
"""Kinds that are no fault."""

HINTS = {
    FindingKind.OLD_INTERFACE: "Port the environment to gymnasium: reset(seed, options) returns (observation, info).",
    FindingKind.RESET_RESULT: "Return (observation, info) from reset.",
    FindingKind.REWARD_ON_RESET: "Return (observation, info) from reset; a reward comes with a step.",
    FindingKind.STEP_RESULT: "Return (observation, reward, terminated, truncated, info) from step.",
    FindingKind.INFO_NOT_DICT: "Return a dict, which may be empty.",
    FindingKind.FLAG_NOT_BOOL: "Return bool(terminated) and bool(truncated).",
    FindingKind.MALFORMED_OBSERVATION: "Return what the observation space describes, or declare what you return.",
    FindingKind.MALFORMED_REWARD: (
        "Return float(reward). One number for each of several objectives needs a wrapper that weights them, such as"
        " --wrap mo_gymnasium.wrappers:LinearReward."
    ),
    FindingKind.NOT_FINITE: "Clip or replace such numbers in the environment.",
    FindingKind.ACTION_EDGE: "Make step accept every action of the space, or declare a smaller space; start and n of a "
    "Discrete space, and both bounds of a Box, belong to it.",
    FindingKind.SPACE_CHANGED: "All tasks of a family share their spaces: choose them when the environment is made.",
    FindingKind.CHECKER_REJECTS: "Fix the environment: gymnasium.utils.env_checker.check_env shows the same error.",
    FindingKind.SHARED_WORLD: f"{KEEP_APART} In PyBullet, connect a client for each environment. For a simulator "
    "that can run only once in a process, declare --copies 1.",
    FindingKind.SEED_IGNORED: "Draw from self.np_random after super().reset(seed=seed). The family can be practised, "
    "but its tasks do not replay.",
    FindingKind.RESET_KEEPS_STATE: "Set every attribute that a step changes in reset too.",
    FindingKind.GLOBAL_RANDOM: "Draw from self.np_random. Otherwise what one copy draws changes the other copies.",
    FindingKind.OUTSIDE_SPACE: "Declare wider bounds, or clip. learnd uses no bounds of observations.",
    FindingKind.WRONG_DTYPE: "Return the dtype of the space (.astype). learnd converts numbers to float32.",
    FindingKind.UNUSUAL_REWARD: "Return float(reward).",
    FindingKind.TRUNCATION_MISSING: "Return truncated=True when the time is over, and terminated=True only if the task "
    "itself is over: the value of a truncated episode goes on.",
    FindingKind.CLOSE_FAILED: "Let close succeed. Where keyword arguments vary, each new task closes a copy, "
    "and this is a fault.",
    FindingKind.ACTION_MASK: "Give a mask with every reset and step, which allows at least one choice.",
    FindingKind.CONTEXT_UNUSED: "Give a text, a number, or an array of numbers without NaN, of at most 256 bytes. "
    "Otherwise the memory tells tasks apart by their first observations.",
    FindingKind.ONE_ACTION: "Declare all actions: n of a Discrete space is the number of choices, not the largest one.",
    FindingKind.SHARED_STATE: KEEP_APART,
    FindingKind.NO_STEP_LIMIT: "Set one (--max-steps), so that every episode ends.",
    FindingKind.SEED_WITHOUT_EFFECT: "Tasks differ only by variations (--vary), if any are declared.",
}
"""Hints by kind of finding: what to do, unless the finding itself says it."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A fault or a remark of a check.

    Attributes:
        kind: the kind of the finding.
        found: what was found, as a sentence.
        hint: what to do, as a sentence; "" if the finding needs nothing.
        call: the call of the environment in which it was found (``reset``, ``step``, ``close``), or "".
        severity: what it means for the family.
        error: the error that was raised, if one was.
    """

    kind: FindingKind
    found: str
    hint: str
    call: str = ""
    severity: Severity
    error: EnvsError | None = field(default=None, compare=False, repr=False)

    @property
    def is_refusal(self) -> bool:
        """Return whether the family cannot be practised."""
        return self.severity is Severity.REFUSED

    def text(self) -> str:
        """Return the finding as text for people."""
        return self._with_call() + (f" {self.hint}" if self.hint else "")

    def _with_call(self) -> str:
        return f"{self.call}: {self.found}" if self.call else f"{self.found[:1].upper()}{self.found[1:]}"

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON values; ``detail`` is the end of a worker's traceback and stderr."""
        named = {"kind": self.kind, "severity": self.severity, "call": self.call}
        detail = self.error.detail if isinstance(self.error, WorkerFaultError) else ""
        texts = {"found": self.found, "hint": self.hint, "detail": detail}
        return {**{key: str(value) for key, value in named.items()}, **texts}

    def to_error(self, family: str) -> EnvsError:
        """Return the error with which the family is refused."""
        if self.error is not None:
            return self.error
        found = self._with_call() if self.call else self.found
        return FamilySpecError(operation="admitting family", subject=family, found=found, hint=self.hint)


def finding(kind: FindingKind, found: str, *, hint: str | None = None, call: str = "") -> Finding:
    """Return a finding with the severity of its kind, and its hint unless another one is given."""
    severity = Severity.WARNING if kind in WARNINGS else Severity.NOTE if kind in NOTES else Severity.REFUSED
    return Finding(
        kind=kind, found=found, hint=HINTS.get(kind, "") if hint is None else hint, call=call, severity=severity
    )


def refusal(error: EnvsError, kind: FindingKind = FindingKind.FAULT) -> Finding:
    """Return the finding of an error that ended the check."""
    return Finding(kind=kind, found=error.found, hint=error.hint, severity=Severity.REFUSED, error=error)


MORE_TIME = "Give it more time: learnd env check --max-time."


def out_of_time(what: str) -> Finding:
    """Return the finding that something was not checked because the time was over."""
    return finding(FindingKind.NOT_CHECKED, f"Not checked {what}: no time was left.", hint=MORE_TIME)
