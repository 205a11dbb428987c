"""Continual learning: one learner practises families in sequence, each in its own window, with past windows closed.

Sequences (``benchmarks.continual.sequences``):

- ``pair``: varied CartPole, then the same with the force reversed.
- ``ten``: six CartPoles that share their spaces and contradict one another, and four embedded families between them.
- ``cartpoles``: the six CartPoles alone.
- ``stream``, ``stream-reversed``: the six embedded families, LunarLander and a MiniGrid
  (``pip install "learnd[box2d,minigrid]"``).
- ``gridworlds``: 50 gridworlds on one space pair; walls, goals and the meanings of actions differ.
- ``minatar``, ``minatar-reversed``: five games of MinAtar on one space pair (``pip install --no-deps minatar``).
- ``plasticity``: 200 small families; the steps that the last 20 take are compared with a fresh learner's.

Arms: ``fine-tuning`` practises each family in its window; ``rehearsal`` also trains on stored trials of earlier ones;
``re-simulation`` plays the earlier families again, in equal parts of a window's time. ``single`` is each family learned
alone, from scratch, in the time of one window. The learner knows no task ids or boundaries beyond a family's name,
which selects its critic and its rates; the policy does not see it.

A window is a number of CPU-seconds of this process (workers of Gymnasium families are not counted). After each tenth
(of the stream, each fifth), the window's family is scored on fixed held-out tasks; at the end of a window, all families
so far are. Scores cost no time of the window. Measures: ``benchmarks.continual.measures``.

Run: ``python -m benchmarks.continual [SEQUENCE …] [--seeds 0 1 2] [--arms fine-tuning rehearsal] [--seconds 60]``.
An interrupted run continues at the last finished window. Tables are printed; JSON and a picture are written to
``--folder``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from agent.learners.config_json import config_from_json, config_to_json
from agent.learners.rl2.config import RL2Config
from benchmarks.continual import plots
from benchmarks.continual.measures import CurvePoint, FamilyScores, figures, plasticity
from benchmarks.continual.rehearsal import set_constants
from benchmarks.continual.runs import ARMS, Course, Run
from benchmarks.continual.scores import Scorer
from benchmarks.continual.sequences import SEQUENCES, SequenceFamily
from benchmarks.continual.sequences import Sequence as FamilySequence


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The runs of a sequence.

    Attributes:
        sequence: the sequence.
        courses: the runs of each arm, one per seed.
        alone: the curves of families learned alone, one per seed.
    """

    sequence: FamilySequence
    courses: Mapping[str, Sequence[Course]]
    alone: Mapping[str, Sequence[Sequence[CurvePoint]]]

    def rows(self, arm: str, families: Sequence[SequenceFamily]) -> list[FamilyScores]:
        """Return what an arm's runs measured of some families, over seeds."""
        first, last = self.sequence.families[0].name, self.sequence.families[-1].name
        return [
            FamilyScores(
                curve=course.curve(family.name),
                final=course.matrix[-1][family.name],
                alone=self.alone[family.name][index] if family.name in self.alone else (),
                is_first=family.name == first,
                is_last=family.name == last,
            )
            for family in families
            for index, course in enumerate(self.courses[arm])
        ]


def main() -> None:
    """Practise, print and write every sequence that is asked for."""
    options = _options()
    torch.set_num_threads(1)
    settings = _settings(options.set, known=[field.name for field in fields(RL2Config)])
    options.config = config_from_json(RL2Config, {**config_to_json(RL2Config()), **settings})
    set_constants(_settings(options.rehearsal))
    for name in options.sequence:
        scorer = Scorer(options.folder)
        try:
            measured = _measure(name, options, scorer)
        finally:
            scorer.close()
        _show(name, measured)
        _write(name, measured, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.continual", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sequence", nargs="*", default=["pair"], help=f"of {', '.join(SEQUENCES)}; default: pair")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=sorted(ARMS), help="default: by sequence")
    parser.add_argument("--seconds", type=float, help="CPU-seconds of a window; default: by sequence")
    parser.add_argument("--families", type=int, help="only the first so many families of the sequence")
    parser.add_argument("--no-single", action="store_true", help="leave out the families learned alone, and FT")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of RL2Config, as JSON")
    parser.add_argument(
        "--rehearsal", nargs="*", default=[], metavar="KEY=VALUE", help="settings of rehearsal, as JSON"
    )
    parser.add_argument("--label", default="", help="added to the names of the files of all arms but single")
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results/continual"))
    options = parser.parse_args()
    if unknown := sorted(set(options.sequence) - set(SEQUENCES)):
        parser.error(f"no sequence named {', '.join(unknown)}; there are: {', '.join(SEQUENCES)}")
    return options


def _settings(given: Sequence[str], *, known: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the settings that ``KEY=VALUE`` texts give; a value that is no JSON is text."""
    found: dict[str, Any] = {}
    for text in given:
        key, _, value = text.partition("=")
        if known is not None and key not in known:
            raise SystemExit(f"no setting named {key}; there are: {', '.join(known)}")
        try:
            found[key] = json.loads(value)
        except json.JSONDecodeError:
            found[key] = value
    return found


# Runs


def _measure(name: str, options: argparse.Namespace, scorer: Scorer) -> Measured:
    sequence = SEQUENCES[name]()
    sequence = replace(sequence, families=sequence.families[: options.families])
    courses = {
        arm: [_run(name, sequence, arm, seed, options).course(scorer) for seed in options.seeds]
        for arm in options.arms or sequence.arms
    }
    singles: dict[str, list[list[CurvePoint]]] = {}
    for family in () if options.no_single else sequence.families_alone:
        runs = [_run("single", replace(sequence, families=(family,)), "fine-tuning", seed, options)
                for seed in options.seeds]  # fmt: skip
        singles[family.name] = [run.course(scorer).curve(family.name) for run in runs]
    return Measured(sequence=sequence, courses=courses, alone=singles)


def _run(name: str, sequence: FamilySequence, arm: str, seed: int, options: argparse.Namespace) -> Run:
    window_s = options.seconds or sequence.window_s
    rehearsal = options.rehearsal if ARMS[arm].rehearses else []
    words = [name, sequence.families[0].name if name == "single" else arm, f"{window_s:g}s", *options.set, *rehearsal]
    if name != "single":
        words += [f"first{options.families}"] if options.families else []
        words += [options.label] if options.label else []
    label = "-".join([*words, f"seed{seed}"])
    return Run(
        families=sequence.families,
        arm=ARMS[arm],
        config=options.config,
        rehearsal=_settings(rehearsal),
        seed=seed,
        window_s=window_s,
        all_every=sequence.all_every,
        num_scores=sequence.num_scores,
        path=options.folder / _file_name(label),
        label=label,
    )


def _file_name(label: str) -> str:
    """Return a label without characters that a file's name should not have."""
    return "".join(character if character.isalnum() or character in "-=._" else "_" for character in label)


# Results


def _show(name: str, measured: Measured) -> None:
    families = measured.sequence.families
    console = Console(width=150)
    table = Table(title=f"{name}: {len(families)} families, 90% bootstrap intervals over families and seeds")
    names = ("P", "P / single", "F", "FT", "FT by steps")
    for column in ("arm", *names, "worst F_i"):
        table.add_column(column, justify="left" if column == "arm" else "right")
    for arm in measured.courses:
        found = figures(rows := measured.rows(arm, families))
        cells = [
            f"{found[part].mean:.3f} [{found[part].low:.3f}, {found[part].high:.3f}]" if part in found else "–"
            for part in names
        ]
        table.add_row(arm, *cells, f"{max(row.forgetting for row in rows):.3f}")
    console.print(table)
    console.print(_family_table(measured))
    for arm in measured.courses if measured.sequence.num_alone is not None and measured.alone else ():
        late = plasticity(_alone_rows(measured, arm))
        console.print(
            f"{arm}: steps to the score, {len(measured.alone)} last families: {late.steps:,.0f}, a fresh learner "
            f"{late.steps_alone:,.0f}; ratio {late.ratio.mean:.2f} [{late.ratio.low:.2f}, {late.ratio.high:.2f}], "
            f"reached by {late.num_reached} of {late.num_families}"
        )


def _family_table(measured: Measured) -> Table:
    """Return each family's scores, means over seeds (end of its window, end of the sequence, alone), and its FT."""
    table = Table(title="mean over seeds: end of own window → end of sequence; FT (FT by steps)")
    table.add_column("family")
    for arm in measured.courses:
        table.add_column(arm, justify="right")
        table.add_column("FT", justify="right")
    table.add_column("single", justify="right")
    for family in measured.sequence.families:
        cells = []
        for arm in measured.courses:
            rows = measured.rows(arm, [family])
            ends, finals = _mean(row.curve[-1].score for row in rows), _mean(row.final for row in rows)
            cells += [f"{ends:.3f} → {finals:.3f}", _transfer(rows)]
        curves = measured.alone.get(family.name, ())
        table.add_row(family.name, *cells, f"{_mean(curve[-1].score for curve in curves):.3f}" if curves else "–")
    return table


def _transfer(rows: Sequence[FamilyScores]) -> str:
    """Return a family's forward transfer as text; the first family's is noise."""
    if not all(row.alone for row in rows):
        return "–"
    by_time = _mean(row.forward_transfer for row in rows)
    by_steps = _mean(row.forward_transfer_by_steps for row in rows)
    return f"{by_time:+.3f} ({by_steps:+.3f})"


def _mean(values: Any) -> float:
    found = list(values)
    return float(sum(found) / len(found))


def _alone_rows(measured: Measured, arm: str) -> list[FamilyScores]:
    return measured.rows(arm, [family for family in measured.sequence.families if family.name in measured.alone])


def _write(name: str, measured: Measured, options: argparse.Namespace) -> None:
    """Write the figures as JSON, and the picture."""
    families = measured.sequence.families
    result: dict[str, Any] = {"sequence": name, "families": [family.name for family in families]}
    result |= {"seeds": options.seeds, "config": config_to_json(options.config), "arms": {}, "single": {}}
    for arm, courses in measured.courses.items():
        found = {part: asdict(figure) for part, figure in figures(measured.rows(arm, families)).items()}
        if measured.sequence.num_alone is not None and measured.alone:
            found["plasticity"] = asdict(plasticity(_alone_rows(measured, arm)))
        result["arms"][arm] = {"figures": found, "courses": [course.windows for course in courses]}
    for family, curves in measured.alone.items():
        result["single"][family] = [[asdict(point) for point in curve] for curve in curves]
    path = options.folder / _file_name("-".join([name, *options.set, *options.rehearsal, options.label or "table"]))
    path = path.with_name(path.name + ".json")
    path.write_text(json.dumps(result, indent=1) + "\n")
    picture = path.with_suffix(".png")
    plots.draw([family.name for family in families], measured.courses, measured.alone, picture)
    print(f"written to {path} and {picture}")


if __name__ == "__main__":
    main()
