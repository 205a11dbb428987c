"""A data folder like that of a daemon after some hours: six families, evaluations, versions, job runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.policies.version_header import VersionHeader, header_to_metadata
from envs.family import FamilySource, FamilySpec
from envs.gymnasium.variations import Variation
from envs.spaces import ActionKind, ActionSpec, ObservationKind, ObservationSpec, SpacePair
from memory.folder import DataFolder
from memory.records import (
    CurveMetric,
    CurvePoint,
    EpisodeRecord,
    FamilyScore,
    FamilyState,
    FamilyTotals,
    JobKind,
    JobOutcome,
    LearnerStep,
    TrialRecord,
)
from memory.store import Store

STARTED_AT = 1_790_000_000.0


@dataclass
class TurnedClock:
    """A clock that the test sets."""

    at: float = STARTED_AT

    def __call__(self) -> float:
        return self.at


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A family and its learning curve: its score rises from 0 towards ``top`` at rate ``rate``."""

    name: str
    entry: str
    random_return: float
    reference_return: float
    episodes: int
    top: float
    rate: float
    steps_per_slice: int


STORY = (
    Learned(name="bandits", entry="bernoulli_bandits", random_return=5.0, reference_return=6.66, episodes=10,
            top=0.97, rate=0.5, steps_per_slice=40_960),
    Learned(name="mdps", entry="tabular_mdps", random_return=100.0, reference_return=159.1, episodes=10,
            top=0.85, rate=0.12, steps_per_slice=51_200),
    Learned(name="cartpole", entry="CartPole-v1", random_return=63.0, reference_return=600.0, episodes=3,
            top=0.93, rate=0.16, steps_per_slice=9_600),
    Learned(name="acrobot", entry="Acrobot-v1", random_return=-600.0, reference_return=-200.0, episodes=2,
            top=0.7, rate=0.09, steps_per_slice=9_600),
    Learned(name="frozenlake", entry="FrozenLake-v1", random_return=0.2, reference_return=7.0, episodes=8,
            top=0.55, rate=0.07, steps_per_slice=7_200),
    Learned(name="pendulum", entry="Pendulum-v1", random_return=-3600.0, reference_return=-450.0, episodes=3,
            top=0.35, rate=0.05, steps_per_slice=9_600),
)  # fmt: skip


def spec_of(name: str, entry: str = "CartPole-v1", *, episodes: int = 3) -> FamilySpec:
    is_tensor = entry in {"bernoulli_bandits", "tabular_mdps"}
    return FamilySpec(
        name=name,
        source=FamilySource.TENSOR if is_tensor else FamilySource.GYMNASIUM,
        entry=entry,
        variations=() if is_tensor else (Variation(name="gravity", low=7.0, high=13.0),),
        episodes_per_trial=episodes,
    )


def spaces() -> SpacePair:
    return SpacePair(
        observation=ObservationSpec(kind=ObservationKind.VECTOR, size=4),
        action=ActionSpec(kind=ActionKind.DISCRETE, choices=(2,), start=(0,)),
    )


def a_trial(generator: np.random.Generator, *, episodes: int = 2, steps: int = 5) -> TrialRecord:
    return TrialRecord(
        task={"seed": 1},
        episodes=tuple(
            EpisodeRecord(
                observations=generator.normal(size=(steps + 1, 4)).astype(np.float32),
                actions=generator.integers(0, 2, size=steps),
                rewards=np.ones(steps, np.float32),
                is_terminated=True,
            )
            for _ in range(episodes)
        ),
    )


def fill(path: Path, *, story: tuple[Learned, ...] = STORY, rounds: int = 20) -> DataFolder:
    """Write the families and their history into a new data folder. The last round ends near the current time."""
    folder = DataFolder(path)
    folder.create()
    clock = TurnedClock()
    generator = np.random.default_rng(7)
    with Store.open(folder, clock=clock) as store:
        for learned in story:
            store.families.add(spec_of(learned.name, learned.entry, episodes=learned.episodes))
            store.families.admit(
                learned.name,
                spaces=spaces().to_json(),
                random_return=learned.random_return,
                reference_return=learned.reference_return,
            )
        for number in range(rounds):
            for learned in story:
                _practise(store, learned, number, clock, generator)
            if number % 5 == 4:
                _consolidate(store, story, number, clock)
        for kind, trigger in ((JobKind.EVALUATE, "interval:60"), (JobKind.BACKUP, "cron:0 3 * * *")):
            store.jobs.set_schedule(kind, trigger, next_due_at=clock.at + 60)
    return folder


def _score(learned: Learned, number: int) -> float:
    return learned.top * (1 - math.exp(-learned.rate * number))


def _practise(store: Store, learned: Learned, number: int, clock: TurnedClock, generator: np.random.Generator) -> None:
    run = store.jobs.start(JobKind.PRACTISE, family=learned.name, reason="waited longest")
    score = _score(learned, number)
    span = learned.reference_return - learned.random_return
    mean = learned.random_return + span * (score + float(generator.normal(0, 0.012)))
    points = [
        CurvePoint(metric=CurveMetric.TRIAL_RETURN, value=mean, standard_error=abs(span) * 0.02),
        CurvePoint(metric=CurveMetric.LOSS, label="policy", value=0.02 * math.exp(-number / 9)),
        CurvePoint(metric=CurveMetric.LOSS, label="value", value=0.5 * math.exp(-number / 6) + 0.05),
    ]
    step = LearnerStep(
        family=learned.name,
        practised=FamilyTotals(
            env_steps=learned.steps_per_slice, episodes=learned.episodes * 64, trials=64, meta_updates=4
        ),
        trials=(a_trial(generator),),
        points=tuple(points),
        started_at=clock.at,
        finished_at=clock.at + 3,
    )
    clock.at += 3
    store.learner_steps.commit(step, {"w": np.full(8, number, np.float32)}, {"number": number})
    store.jobs.finish(run, JobOutcome.SUCCEEDED)
    store.curves.commit_evaluation(learned.name, _evaluation(learned, number, generator))
    clock.at += 7


def _evaluation(learned: Learned, number: int, generator: np.random.Generator) -> list[CurvePoint]:
    score = _score(learned, number) + float(generator.normal(0, 0.012))
    span = learned.reference_return - learned.random_return
    mean = (learned.random_return + span * score) / learned.episodes
    gain = 0.35 * abs(span) / learned.episodes * score
    return [
        CurvePoint(metric=CurveMetric.EVAL_SCORE, value=score, standard_error=0.02 + 0.03 * (1 - score)),
        CurvePoint(metric=CurveMetric.EVAL_RETURN, value=mean * learned.episodes, standard_error=abs(span) * 0.02),
        *(
            CurvePoint(
                metric=CurveMetric.EPISODE_RETURN,
                label=str(index),
                value=mean + gain * (index / max(1, learned.episodes - 1) - 0.5),
                standard_error=0.02 * abs(span) / learned.episodes,
            )
            for index in range(learned.episodes)
        ),
    ]


def _consolidate(store: Store, story: tuple[Learned, ...], number: int, clock: TurnedClock) -> None:
    current = store.initializations.current()
    run = store.jobs.start(JobKind.CONSOLIDATE, family=None, reason="due")
    scores = [
        FamilyScore(
            family=learned.name,
            score=_score(learned, number),
            standard_error=0.02,
            published_score=None if current is None else _score(learned, number - 5),
            num_trials=256,
        )
        for learned in story
    ]
    give = store.initializations.reject if number == 14 else store.initializations.publish
    tensors = {"w": np.full(8, number, np.float32)}
    give(
        tensors,
        metadata=header_to_metadata(VersionHeader(learner="rl2", config={}), tensors),
        scores=scores,
        provenance={"learner": "rl2", "round": number},
        reason="no family fell" if number != 14 else "cartpole fell by 0.08",
        parent=None if current is None else current.version,
    )
    store.jobs.finish(run, JobOutcome.SUCCEEDED)
    clock.at += 5


def pause(folder: DataFolder, name: str) -> None:
    with Store.open(folder) as store:
        store.families.set_state(name, FamilyState.PAUSED, reason="by hand")
