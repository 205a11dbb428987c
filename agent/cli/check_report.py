"""The answer of ``learnd env check``: JSON values, and a report in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agent.cli.console import PlainConsole
from agent.cli.few_shot_options import shapes_text
from agent.cli.output import STATE_STYLES, indented, styled
from agent.output.quantities import short_count, short_number, with_error
from agent.output.visible_text import visible_line
from envs.entries import shown_entry
from envs.kinds import FamilyKind
from envs.space_text import spaces_text

if TYPE_CHECKING:
    from envs.admission import Admission
    from envs.examination import Examination
    from envs.family import FamilySpec
    from envs.findings import Finding

MARKS = {"refused": ("x", "red"), "warning": ("!", "yellow"), "note": ("-", "dim")}
"""The mark of a finding of each severity, and its style."""

SEVERITIES = tuple(MARKS)


def check_values(
    spec: FamilySpec,
    *,
    spaces: Mapping[str, Any] | None,
    returns: Admission | Examination,
    report: Mapping[str, Any],
    findings: Sequence[Finding],
) -> dict[str, Any]:
    """Return the JSON values of a check, with its findings in the order of their severity."""
    ordered = sorted(findings, key=lambda found: SEVERITIES.index(str(found.severity)))
    return {
        "verdict": "refused" if any(found.is_refusal for found in findings) else "admitted",
        "name": spec.name,
        "spec": spec.to_json(),
        "spaces": spaces,
        "random_return": returns.random_return,
        "random_standard_error": returns.random_standard_error,
        "reference_return": returns.reference_return,
        "reference_source": returns.reference_source,
        **report,
        "findings": [found.to_json() for found in ordered],
    }


def show_check(out: PlainConsole, values: Mapping[str, Any]) -> None:
    """Print the report of a check. ``values`` is the command's JSON answer."""
    entry, verdict = shown_entry(values["spec"]["entry"]), values["verdict"]
    means = f"learnd env add would {'admit' if verdict == 'admitted' else 'refuse'} it"
    if unchecked := sum(found["kind"] == "not_checked" for found in values["findings"]):
        means += f"; {unchecked} {'things were' if unchecked > 1 else 'thing was'} not checked"
    out.print(styled((visible_line(entry), "bold"), " is ", (verdict, STATE_STYLES[_state_of(verdict)]), f": {means}"))
    for line in report_lines(values):
        out.print(visible_line(line), soft_wrap=True)
    for found in values["findings"]:
        text = " ".join(part for part in (_found_text(found), found["hint"]) if part)
        out.print(styled(MARKS[found["severity"]], f" {indented(text)}"), soft_wrap=True)
    if not values["findings"]:
        out.print("no fault was found")


def report_lines(values: Mapping[str, Any]) -> list[str]:
    """Return what was measured, one line a subject, without what is unknown."""
    is_few_shot = _is_few_shot(values)
    lines = []
    if values["spaces"] is not None:
        described = shapes_text(values["spaces"]) if is_few_shot else spaces_text(values["spaces"])
        lines.append(f"{'inputs and targets' if is_few_shot else 'observations and actions'}: {described}")
    lines += [_speed_text(values), _episodes_text(values), _rewards_text(values), _returns_text(values)]
    if values.get("is_replayed") is not None:
        lines.append(
            "seeds: the same seed and actions give the same result"
            if values["is_replayed"]
            else "seeds: the same seed and actions do not give the same result"
        )
    return [line for line in lines if line]


def seconds_text(seconds: float) -> str:
    """Return a short time with its unit: 12 µs, 3.4 ms, 2.5 s."""
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1.0:
            return f"{short_number(seconds * factor)} {unit}"
    return f"{short_number(seconds * 1e6)} µs"


def _state_of(verdict: str) -> str:
    return "active" if verdict == "admitted" else "refused"


def _found_text(found: Mapping[str, Any]) -> str:
    return f"{found['call']}: {found['found']}" if found["call"] else str(found["found"])


def _speed_text(values: Mapping[str, Any]) -> str:
    if values.get("examples_per_s"):
        return f"speed: {short_number(values['examples_per_s'])} examples a second"
    parts = []
    if values.get("steps_per_s"):
        parts.append(f"{short_number(values['steps_per_s'])} steps a second with {values['num_copies']} copies")
    times = values.get("one_copy") or {}
    if "step_s" in times:
        parts.append(
            f"one copy takes {seconds_text(times['step_s'])} a step ({seconds_text(times['step_cpu_s'])} of CPU), "
            f"{seconds_text(times['reset_s'])} a reset (at most {seconds_text(times['slowest_reset_s'])}) and "
            f"{seconds_text(times['make_s'])} to make"
        )
    return f"speed: {'; '.join(parts)}" if parts else ""


def _episodes_text(values: Mapping[str, Any]) -> str:
    episodes = values.get("episodes") or {}
    if not episodes.get("count"):
        return ""
    count, truncated = episodes["count"], episodes["num_truncated"]
    ended = "none was truncated" if not truncated else f"{short_count(truncated)} were truncated"
    limit = values["max_episode_steps"]
    limited = "no limit of steps is registered or given" if limit is None else f"the limit is {limit} steps"
    return (
        f"episodes: {short_count(count)} of {episodes['shortest']} to {episodes['longest']} steps, "
        f"{short_number(episodes['mean_length'])} on average; {ended}; {limited}"
    )


def _rewards_text(values: Mapping[str, Any]) -> str:
    rewards = values.get("rewards") or {}
    if rewards.get("mean_return") is None:
        return ""
    numbers = {key: short_number(value) for key, value in rewards.items()}
    return (
        f"rewards: {numbers['lowest']} to {numbers['highest']} a step, {numbers['lowest_return']} to "
        f"{numbers['highest_return']} an episode, {numbers['mean_return']} on average"
    )


def _returns_text(values: Mapping[str, Any]) -> str:
    if values["random_return"] is None:
        return ""
    random = with_error(values["random_return"], values["random_standard_error"])
    reference = "no return that scores 1 is declared or registered"
    if values["reference_return"] is not None:
        reference = f"{short_number(values['reference_return'])} scores 1 ({values['reference_source']})"
    return f"returns: {_zero_text(values)} earns {random} and scores 0; {reference}"


def _is_few_shot(values: Mapping[str, Any]) -> bool:
    return bool(values["spec"]["source"] == FamilyKind.FEW_SHOT)


def _zero_text(values: Mapping[str, Any]) -> str:
    """Say what earns the return of score 0."""
    if not _is_few_shot(values):
        return "a trial with random actions"
    return "answering by chance" if values["spaces"]["is_classification"] else "the best constant answer"
