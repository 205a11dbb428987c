"""Maps of FrozenLake that recur in the service: the return by episode on met maps, with the memory and without.

The session of the trainer practises one family with default settings; ``info["context"]`` is the text of a map's cells.
Then each of the 100 maps, which the store has trials of, is played once from four starts:

- ``empty``: the memory is off.
- ``asked_once``: with what the store recalls at the first observation.
- ``asked_again``: the store is asked again within the first steps, as in evaluations and in use.
- ``no_cue``: the same without contexts.

Run: ``python -m benchmarks.met_lakes --seeds 0 1 [--updates 200]``. An interrupted run
continues with the missing seeds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from agent.config.settings import LearnerSettings, Settings
from agent.learners.rl2.recalled_trials import RecalledStarts
from agent.learners.rl2.recognition import Recognition
from agent.learners.rl2.trials import episode_returns
from agent.trainer.practice.met_tasks import EXPOSURE, MetTasks
from agent.trainer.session import TrainerSession
from benchmarks.kept_runs import kept_or_measured
from benchmarks.trainer_session import trainer_session
from envs.declaration import family_from_declaration
from envs.family import FamilySpec, Split
from envs.registry import open_tasks
from envs.task_batch import RecurringTaskBatch, given_contexts, recurs
from memory.records import Family
from memory.retrieval.key_upkeep import KeyUpkeep, recall_among
from memory.retrieval.recall import TaskRecall

NUM_MAPS = 100


class NamedLake(gymnasium.Wrapper[Any, Any, Any, Any]):
    """FrozenLake without slipping, which names its map.

    Args:
        desc: the map, row by row.
    """

    def __init__(self, desc: list[str]) -> None:
        super().__init__(gymnasium.make("FrozenLake-v1", desc=desc, is_slippery=False))
        self._context = "".join(desc)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, {**info, "context": self._context}


@dataclass(frozen=True, kw_only=True)
class MetReturns:
    """The result of one seed.

    Attributes:
        updates: updates of practice.
        practice_s: CPU-seconds of practice, without those of the worker.
        trials: stored trials.
        likeness: mean likeness of what is recalled at the first observation, with the cue.
        by_episode: mean return by episode, for each start.
    """

    updates: int
    practice_s: float
    trials: int
    likeness: float
    by_episode: dict[str, list[float]] = field(default_factory=dict)


def lakes() -> FamilySpec:
    """Return the family."""
    return family_from_declaration(
        "benchmarks.met_lakes:NamedLake",
        name="lakes",
        variations=["kwarg.desc=frozen_lake_map:4:0.8"],
        episodes_per_trial=8,
        max_episode_steps=30,
        recurring=NUM_MAPS,
        reference_return=7.0,
        import_paths=[str(Path(__file__).resolve().parents[1])],
    )


def measure(seed: int, updates: int) -> MetReturns:
    """Practise the family, and play every map once from each start."""
    with tempfile.TemporaryDirectory() as folder, trainer_session(_settings(Path(folder), seed)) as session:
        family = _admitted(session)
        began = time.process_time()
        while (practised := session.store.families.get(family.name).totals.meta_updates) < updates:
            session.practice_of(family).practise(family, reason="benchmark")
        practice_s = time.process_time() - began
        recall = KeyUpkeep.of(session.store).recall(session.store.families.get(family.name))
        tasks = open_tasks(family.require_spec(), None, num_trials=NUM_MAPS, device="cpu")
        assert recurs(tasks)
        with closing(tasks):
            likeness, by_episode = _by_start(session, tasks, recall)
        return MetReturns(
            updates=practised,
            practice_s=round(practice_s, 1),
            trials=len(recall),
            likeness=likeness,
            by_episode=by_episode,
        )


def _by_start(
    session: TrainerSession, tasks: RecurringTaskBatch, recall: TaskRecall
) -> tuple[float, dict[str, list[float]]]:
    """Return the mean likeness at the start with the cue, and the returns by episode of each start."""
    policy, numbers = session.learner.policy, torch.arange(NUM_MAPS)
    met = MetTasks(tasks=tasks, numbers=numbers, exposures=torch.full_like(numbers, EXPOSURE))
    first = tasks.begin_tasks(met.numbers, met.exposures, split=Split.TRAINING)
    contexts = given_contexts(tasks, numbers.tolist())

    def recognition(recall: TaskRecall, contexts: list[bytes | None]) -> Recognition:
        starts = RecalledStarts(policy, tasks.spaces)
        starts.prepare(recall.alike(first.numpy(), contexts, most=NUM_MAPS))
        return Recognition(
            recall, starts, first_observation=first, contexts=contexts, episodes_per_trial=tasks.spec.episodes_per_trial
        )

    once, again = recognition(recall, contexts), recognition(recall, contexts)
    likeness = float(np.mean([found.likeness for found in once.recalled]))
    recall.is_asked_again = lambda *_args, **_options: False  # type: ignore[method-assign]
    found = {"empty": met.play(policy, None), "asked_once": met.play(policy, once)}
    del recall.is_asked_again
    found["asked_again"] = met.play(policy, again)
    found["no_cue"] = met.play(policy, recognition(_unnamed(session, tasks), [None] * NUM_MAPS))
    return likeness, {
        start: [round(float(value), 4) for value in episode_returns(trials).mean(1)] for start, trials in found.items()
    }


def _unnamed(session: TrainerSession, tasks: RecurringTaskBatch) -> TaskRecall:
    """Return the stored trials for recall without contexts."""
    rows = session.store.trials.of_family("lakes", limit=10_000, newest_first=False)

    def load(number: int) -> Any:
        return replace(session.store.trials.load(rows[number].id), context=None)

    return recall_among(tasks.spaces, ["lakes"] * len(rows), load)


def _settings(folder: Path, seed: int) -> Settings:
    return Settings(data_dir=folder / "store", learner=LearnerSettings(seed=seed))


def _admitted(session: TrainerSession) -> Family:
    spec = lakes()
    with closing(open_tasks(spec, None, num_trials=1, device="cpu")) as tasks:
        session.store.families.add(spec)
        return session.store.families.admit(
            spec.name, spaces=tasks.spaces.to_json(), random_return=0.1, reference_return=7.0
        )


def main() -> None:
    """Measure and print every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results/met-lakes"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in options.seeds:
        found = kept_or_measured(
            options.folder / f"seed{seed}.json",
            MetReturns,
            lambda seed=seed: measure(seed, options.updates),  # type: ignore[misc]
            settings={"updates": options.updates},
        )
        print(f"seed {seed}: {found.updates} updates, {found.practice_s} CPU-s, {found.trials} trials, ", end="")
        print(f"likeness {found.likeness:.2f}")
        for start, returns in found.by_episode.items():
            print(f"  {start:11}: {' '.join(f'{value:.2f}' for value in returns)}, sum {sum(returns):.2f}", flush=True)


if __name__ == "__main__":
    main()
