"""The answers of `learnd env` about a family: JSON values, and pages of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agent.cli.console import PlainConsole
from agent.cli.few_shot_options import shapes_text, shots_text
from agent.cli.output import in_colour, indented, progress_text, styled
from agent.cli.reference_option import failure_text, reference_text
from agent.cli.status import families_table
from agent.output.quantities import ago, moment, short_number, short_score, with_error
from agent.output.visible_text import visible_line
from envs.entries import shown_entry
from envs.family import FamilySource
from envs.gymnasium.variations import Distribution, Variation
from envs.kinds import FamilyKind
from envs.space_text import spaces_text
from memory.records import Family, UnreadableSpec

if TYPE_CHECKING:
    from envs.admission import Admission


ONE_EPISODE = (
    "a trial is 1 episode, because nothing varies but the seed; if the seed decides what an episode has to find out "
    "(a goal, a map), add it with --episodes 3"
)
STARTS = {
    "fresh": "new parameters",
    "copied": "a copy of the parts that depend on no number of actions or observations",
    "nearest": "a copy of the parts of a family of equal sizes",
    "shared": "the parameters that families of equal spaces share",
}
"""The ways in which a policy can begin (``agent.learners.rl2.warm_start``), in words."""


def admission_values(admission: Admission | None) -> dict[str, Any] | None:
    """Return the JSON values of an admission; None if the family was not tried."""
    if admission is None:
        return None
    return {
        "random_return": admission.random_return,
        "random_standard_error": admission.random_standard_error,
        "reference_return": admission.reference_return,
        "reference_source": admission.reference_source,
        "steps_per_s": admission.steps_per_s,
        "warnings": admission.warnings,
        "findings": [found.to_json() for found in admission.findings],
        "measured": admission.report,
    }


def show_added(out: PlainConsole, family: Family, admission: Admission | None, *, is_daemon_running: bool) -> None:
    """Print that a family was added, the result of trying it, and what starts practice if no daemon runs."""
    _show_admission(out, family, admission)
    if admission is not None and is_fixed(family):
        out.print(ONE_EPISODE)
    if not is_daemon_running:
        out.print("no daemon is running on this data folder: learnd run starts practice")


def is_fixed(family: Family) -> bool:
    """Return whether a family is an environment of which nothing varies but the seed, in trials of one episode."""
    spec = family.spec
    if isinstance(spec, UnreadableSpec) or spec.source is not FamilySource.GYMNASIUM:
        return False
    return not spec.variations and spec.episodes_per_trial == 1


def _show_admission(out: PlainConsole, family: Family, admission: Admission | None) -> None:
    out.print(styled((family.name, "bold"), " is ", in_colour(str(family.state))))
    if admission is None:
        out.print("the daemon tries it in a worker before it is practised")
        return
    is_few_shot = family.kind is FamilyKind.FEW_SHOT
    out.print(f"{'inputs and targets' if is_few_shot else 'observations and actions'}: {_spaces_text(family)}")
    out.print(f"{_zero_text(family)}: {short_number(admission.random_return)}")
    out.print(reference_text(family))
    out.print(f"{short_number(admission.steps_per_s)} {'examples' if is_few_shot else 'steps'} a second")
    if is_few_shot:
        out.print(f"practised by {family.require_spec().learner}")
    for warning in admission.warnings:
        out.print(styled(("!", "yellow"), f" {indented(warning)}"))


def _zero_text(family: Family) -> str:
    """Say what earns the return of score 0."""
    if family.kind is not FamilyKind.FEW_SHOT:
        return "return of a trial with random actions"
    if family.spaces is not None and family.spaces["is_classification"]:
        return "return of a task by chance, as a share of right answers"
    return "return of a task with the best constant answer, as minus the mean squared error"


def _spaces_text(family: Family) -> str:
    if family.spaces is None:
        return "not known yet"
    if family.kind is FamilyKind.FEW_SHOT:
        return shapes_text(family.spaces)
    return spaces_text(family.spaces)


def show_page(out: PlainConsole, family: Family, values: Mapping[str, Any]) -> None:
    """Print the page of `learnd env show`. ``values`` is the command's JSON answer."""
    reason = f": {indented(family.state_reason)}" if family.state_reason else ""
    out.print(styled((family.name, "bold"), " · ", in_colour(str(family.state)), reason))
    if family.quarantined_until is not None:
        out.print(f"tried again {ago(family.quarantined_until)}")
    _show_declaration(out, family)
    out.print(f"{_zero_text(family)}: {short_number(family.random_return)}")
    out.print(reference_text(family))
    if failure := values["reference"]["failure"]:
        out.print(styled(("!", "yellow"), f" {failure_text(failure)}"))
    out.print(families_table([dict(values)]))
    if values["episode_returns"]:
        returns = " → ".join(short_number(value) for value in values["episode_returns"])
        shots = f"after {shots_text(values['shots'])} shots" if "shots" in values else "by episode of the trial"
        out.print(f"held-out return {shots}: {returns}")
    if "met_tasks" in values:
        out.print(_met_text(values["met_tasks"]))
    if "zero_shot" in values:
        out.print(_zero_shot_text(values["zero_shot"]))
    if "forward_transfer" in values:
        out.print(_transfer_text(values["forward_transfer"]))
    if values["forgetting"] is not None:
        out.print(_forgetting_text(family, values))
    if "lent_score" in values:
        lent = values["lent_score"]
        score = with_error(lent["score"], lent["standard_error"])
        out.print(visible_line(f"before any practice, by the learner of {lent['family']}: score {score}"))
    for run in values["last_runs"]:
        outcome = in_colour(str(run["outcome"])) if run["outcome"] is not None else "running"
        said = indented(run["error"] or run["reason"]) + progress_text(run["progress"] or {})
        out.print(styled(f"{ago(run['started_at'])}: {run['job']} ", outcome, f" {said}"))


def _met_text(values: Mapping[str, Any]) -> str:
    """Describe the returns of the first episode and of the trial in tasks that were met."""
    memory, empty = values["memory"], values["empty"]
    first = f"{with_error(memory['return'], memory['standard_error'])} with the memory, "
    first += f"{with_error(empty['return'], empty['standard_error'])} without"
    text = f"first episode in tasks that were met: return {first}"
    if memory["trial_return"] is None:
        return text
    with_memory, without = (
        with_error(part["trial_return"], part["trial_return_standard_error"]) for part in (memory, empty)
    )
    return f"{text}; whole trial: {with_memory} and {without}"


def _zero_shot_text(values: Mapping[str, Any]) -> str:
    """Describe the score before practice, or the return where there is no scale, and what the policy began with."""
    if values["score"] is None:
        name, shown = "return", with_error(values["return"], values["return_standard_error"])
    else:
        name, shown = "score", with_error(values["score"], values["standard_error"])
    start = values["start"]
    meaning = f" ({STARTS[start]})" if start in STARTS else ""
    return f"zero-shot {name} (before any practice): {shown}, start {start}{meaning}"


def _transfer_text(values: Mapping[str, Any]) -> str:
    """Describe the forward transfer, or the return of new parameters where there is no scale."""
    if values["score"] is None:
        fresh = with_error(values["fresh_return"], values["fresh_return_standard_error"])
        return f"before any practice, with new parameters in all parts: return {fresh}"
    score = with_error(values["score"], values["standard_error"])
    return f"forward transfer: {score} (the score before practice minus that of new parameters in all parts)"


def _forgetting_text(family: Family, values: Mapping[str, Any]) -> str:
    """Describe what the family had reached, what is left and what is forgotten."""
    performance, forgetting = values["performance"], values["forgetting"]
    reached, unit = performance + forgetting, "" if family.has_scale else ", in units of what it had reached"
    return (
        f"forgetting: {short_score(forgetting)} (it had reached {short_score(reached)} and gets "
        f"{short_score(performance)}{unit})"
    )


def _show_declaration(out: PlainConsole, family: Family) -> None:
    """Print how the family was declared: its entry, arguments and variations."""
    spec = family.spec
    if isinstance(spec, UnreadableSpec):
        out.print(f"added {moment(family.created_at)}. {spec.hint}")
        return
    out.print(visible_line(f"{shown_entry(spec.entry)} ({spec.source}), added {moment(family.created_at)}"))
    if spec.kwargs:
        out.print(visible_line("made with " + ", ".join(f"{key}={value}" for key, value in spec.kwargs.items())))
    if spec.wrappers:
        out.print(visible_line(f"wrapped in {', then '.join(map(str, spec.wrappers))}"))
    if spec.source.kind is FamilyKind.FEW_SHOT:
        out.print(f"few-shot tasks, practised by {spec.learner}")
        out.print(f"inputs and targets: {_spaces_text(family)}")
    else:
        limit = f", at most {spec.max_episode_steps} steps each" if spec.max_episode_steps else ""
        out.print(f"a trial is {spec.episodes_per_trial} episode{'' if spec.episodes_per_trial == 1 else 's'}{limit}")
        if spec.recurring:
            out.print(f"{spec.recurring} training tasks recur; held-out tasks are all new")
        for variation in spec.variations:
            out.print(f"varies {_variation_text(variation)}")
        out.print(f"observations and actions: {_spaces_text(family)}")


def _variation_text(variation: Variation) -> str:
    kind, options = variation.distribution, variation.options
    match kind:
        case Distribution.UNIFORM | Distribution.LOG_UNIFORM | Distribution.INTEGER:
            drawn = f"{kind} {variation.low:g} to {variation.high:g}"
        case Distribution.FROZEN_LAKE_MAP:
            drawn = "a new map per task"
        case Distribution.PERMUTATIONS:
            drawn = f"a permutation of {' and of '.join(map(str, options['sizes']))}"
        case Distribution.SIGNS:
            drawn = f"{options['size']} signs"
        case Distribution.FACTORS:
            drawn = f"{options['size']} factors, log-uniform {variation.low:g} to {variation.high:g}"
        case Distribution.AUTO:
            drawn = "what fits the environment, completed at admission"
        case _:
            drawn = f"{kind} of {', '.join(str(value) for value in variation.values)}"
    share = f", in {options['share']:.0%} of the tasks" if "share" in options else ""
    return f"{variation.name} ({variation.target}): {drawn}{share}"
