"""The sequences of families that the benchmark ``continual`` practises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.continual.changed_meanings import ChangedMeaning, Meaning
from benchmarks.continual.gridworlds import EPISODES_PER_TRIAL, MAX_EPISODE_STEPS, Gridworld, Gridworlds
from benchmarks.minatar_games import GAMES
from envs.default_families import VARIED_CARTPOLE, default_stream
from envs.family import FamilySource, FamilySpec
from envs.gymnasium.wrappers import EnvWrapper
from envs.registry import open_tasks
from envs.task_batch import TaskBatch

SCORED_STEPS = 100_000
"""About the number of steps that one score plays, in ``MIN_SCORED_TASKS`` to ``MAX_SCORED_TASKS`` tasks."""
MIN_SCORED_TASKS, MAX_SCORED_TASKS = 64, 4096
SMALL_BATCH = 64
"""Parallel trials of CartPole and gridworlds: with 256 long trials at once, a window has too few updates. A gridworld
is learned in 8 CPU-seconds with 64, and to .36 in 10 with 256."""
NUM_GRIDWORLDS = 50
NUM_PLASTICITY_FAMILIES = 200
STREAM_SCORED_STEPS, STREAM_SCORES = 25_000, 5
"""Steps of a score of the stream, and scores in a window: six of its eight families are stepped by workers."""
MINATAR_STEPS = 500
MINATAR_REFERENCES = {"breakout": 20.0, "asterix": 20.0, "space_invaders": 60.0, "freeway": 15.0, "seaquest": 20.0}
"""Returns of score 1: round numbers that set the scale of the scores, and no claim about the games. Breakout reaches 5
in 4 CPU-seconds, and an agent of Freeway crosses at most 18 times in 500 steps."""


@dataclass(frozen=True, kw_only=True)
class SequenceFamily:
    """A family of a sequence.

    Attributes:
        name: the family's name; equal names in different sequences are the same family.
        open: opens this many of its tasks side by side.
        reference_return: trial return of score 1.
        trial_steps: about the steps of a trial.
        num_trials: parallel trials in practice; None takes the learner's setting.
        scored_steps: about the number of steps that one score plays.
    """

    name: str
    open: Callable[[int], TaskBatch]
    reference_return: float
    trial_steps: int
    num_trials: int | None = None
    scored_steps: int = SCORED_STEPS

    @property
    def num_scored_tasks(self) -> int:
        """The number of held-out tasks of a score."""
        return max(MIN_SCORED_TASKS, min(MAX_SCORED_TASKS, self.scored_steps // self.trial_steps))


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """Families that are practised one after another.

    Attributes:
        families: the families in their order.
        window_s: default length of a window in CPU-seconds.
        arms: the arms that are compared by default.
        all_every: all families so far are scored after every so many windows.
        num_alone: the last so many families are also learned alone; None for all.
        num_scores: scores of a family in its own window, besides the one before practice.
    """

    families: tuple[SequenceFamily, ...]
    window_s: float
    arms: tuple[str, ...] = ("fine-tuning", "rehearsal")
    all_every: int = 1
    num_alone: int | None = None
    num_scores: int = 10

    @property
    def families_alone(self) -> tuple[SequenceFamily, ...]:
        """The families that are also learned alone."""
        return self.families if self.num_alone is None else self.families[-self.num_alone :]


SWAPPED, PERMUTED = (1, 0), (2, 3, 0, 1)
CARTPOLES = {
    "cartpole": Meaning(),
    "cartpole-swapped": Meaning(actions=SWAPPED),
    "cartpole-negated": Meaning(signs=(-1, -1, -1, -1)),
    "cartpole-permuted": Meaning(observations=PERMUTED),
    "cartpole-permuted-swapped": Meaning(observations=PERMUTED, actions=SWAPPED),
    "cartpole-reversed": Meaning(observations=(3, 2, 1, 0)),
}
"""Varied CartPoles on one space pair that contradict one another. Swapped actions are a reversed force."""


def pair() -> Sequence:
    """Return varied CartPole and the same with the force reversed."""
    families = tuple(_cartpole(name, CARTPOLES[name]) for name in ("cartpole", "cartpole-swapped"))
    return Sequence(families=families, window_s=60.0)


def ten() -> Sequence:
    """Return ten families, of which six CartPoles share their spaces and contradict one another."""
    embedded = {spec.name: spec for spec in default_stream()}
    cartpoles = {name: _cartpole(name, meaning) for name, meaning in CARTPOLES.items()}
    order = ("cartpole", "bandits", "cartpole-swapped", "mdps", "cartpole-negated", "acrobot", "cartpole-permuted",
             "frozenlake", "cartpole-permuted-swapped", "cartpole-reversed")  # fmt: skip
    families = tuple(cartpoles[name] if name in cartpoles else _embedded(embedded[name]) for name in order)
    return Sequence(families=families, window_s=60.0)


def cartpoles() -> Sequence:
    """Return the six CartPoles of :func:`ten` alone, one after another."""
    return Sequence(families=tuple(_cartpole(name, meaning) for name, meaning in CARTPOLES.items()), window_s=60.0)


def stream() -> Sequence:
    """Return the six embedded families, LunarLander and a MiniGrid."""
    specs = (*default_stream(), _lunar_lander(), _minigrid())
    return Sequence(
        families=tuple(_of_stream(spec) for spec in specs), window_s=60.0, all_every=4, num_scores=STREAM_SCORES
    )


def stream_reversed() -> Sequence:
    """Return the families of :func:`stream` in reverse order."""
    return replace(stream(), families=stream().families[::-1])


def gridworlds() -> Sequence:
    """Return gridworlds on one space pair."""
    families = tuple(_gridworld(seed) for seed in range(NUM_GRIDWORLDS))
    return Sequence(families=families, window_s=10.0, arms=("fine-tuning", "rehearsal", "re-simulation"), all_every=5)


def plasticity() -> Sequence:
    """Return many small families: gridworlds, CartPoles and bandits of changing meanings by turns."""
    kinds: tuple[Callable[[int], SequenceFamily], ...] = (_gridworld, _drawn_cartpole, _drawn_bandits)
    families = tuple(kinds[index % len(kinds)](index) for index in range(NUM_PLASTICITY_FAMILIES))
    return Sequence(families=families, window_s=5.0, all_every=20, num_alone=20)


def minatar() -> Sequence:
    """Return five games of MinAtar on one space pair."""
    return Sequence(families=tuple(_minatar(game) for game in GAMES), window_s=300.0)


def minatar_reversed() -> Sequence:
    """Return the games of :func:`minatar` in reverse order."""
    return replace(minatar(), families=minatar().families[::-1])


SEQUENCES: dict[str, Callable[[], Sequence]] = {
    "pair": pair,
    "ten": ten,
    "cartpoles": cartpoles,
    "stream": stream,
    "stream-reversed": stream_reversed,
    "gridworlds": gridworlds,
    "plasticity": plasticity,
    "minatar": minatar,
    "minatar-reversed": minatar_reversed,
}


def _cartpole(name: str, meaning: Meaning) -> SequenceFamily:
    spec = FamilySpec(
        name="cartpole",
        source=FamilySource.TENSOR,
        entry=VARIED_CARTPOLE,
        episodes_per_trial=3,
        max_episode_steps=200,
    )
    return SequenceFamily(
        name=name,
        open=partial(_open_changed, spec, meaning, name),
        reference_return=600.0,
        trial_steps=600,
        num_trials=SMALL_BATCH,
    )


def _drawn_cartpole(seed: int) -> SequenceFamily:
    random = np.random.default_rng(seed)
    meaning = Meaning(
        actions=tuple(random.permutation(2).tolist()),
        observations=tuple(random.permutation(4).tolist()),
        signs=tuple(random.choice([-1, 1], size=4).tolist()),
    )
    return _cartpole(f"cartpole-{seed}", meaning)


def _drawn_bandits(seed: int) -> SequenceFamily:
    """Return bandits whose rewards are counted as they are, or negated in every other family."""
    spec = next(spec for spec in default_stream() if spec.name == "bandits")
    reference = spec.reference_return or 0.0
    is_negated = bool(seed % 2)
    # By symmetry (p is as likely as 1 - p), the arms' failures are avoided as well as their successes are found.
    return SequenceFamily(
        name=f"bandits-{seed}",
        open=partial(_open_changed, spec, Meaning(reward_sign=-1 if is_negated else 1), f"bandits-{seed}"),
        reference_return=reference - spec.episodes_per_trial if is_negated else reference,
        trial_steps=spec.episodes_per_trial,
    )


def _gridworld(seed: int) -> SequenceFamily:
    world, name = Gridworld(seed), f"gridworld-{seed}"
    return SequenceFamily(
        name=name,
        open=lambda num_trials: Gridworlds(world, name=name, num_trials=num_trials),
        reference_return=world.best_return,
        trial_steps=EPISODES_PER_TRIAL * MAX_EPISODE_STEPS,
        num_trials=SMALL_BATCH,
    )


def _lunar_lander() -> FamilySpec:
    return FamilySpec(
        name="lunarlander",
        source=FamilySource.GYMNASIUM,
        entry="LunarLander-v3",
        episodes_per_trial=1,
        max_episode_steps=500,
        reference_return=200.0,
        reference_source="the environment's reward threshold",
    )


def _minigrid() -> FamilySpec:
    return FamilySpec(
        name="minigrid",
        source=FamilySource.GYMNASIUM,
        entry="MiniGrid-Empty-Random-5x5-v0",
        wrappers=(EnvWrapper(name="minigrid.wrappers:ImgObsWrapper"),),
        episodes_per_trial=1,
        max_episode_steps=100,
        reference_return=0.9685,
        reference_source="shortest ways from all 32 starts: 3.5 steps on average",
    )


def _minatar(game: str) -> SequenceFamily:
    spec = FamilySpec(
        name=game,
        source=FamilySource.GYMNASIUM,
        entry="benchmarks.minatar_games:MinAtarGame",
        kwargs={"game": game},
        episodes_per_trial=1,
        max_episode_steps=MINATAR_STEPS,
        reference_return=MINATAR_REFERENCES[game],
        import_paths=(str(Path(__file__).parents[2]),),
    )
    return _embedded(spec)


def _embedded(spec: FamilySpec) -> SequenceFamily:
    trial_steps = spec.episodes_per_trial * (spec.max_episode_steps or spec.kwargs.get("horizon", 1))
    return SequenceFamily(
        name=spec.name,
        open=lambda num_trials: open_tasks(spec, None, num_trials=num_trials, device="cpu"),
        reference_return=spec.reference_return or 1.0,
        trial_steps=trial_steps,
    )


def _of_stream(spec: FamilySpec) -> SequenceFamily:
    # `cartpole` is the one of the other sequences, which is stepped as tensors.
    name = "cartpole-v1" if spec.name == "cartpole" else spec.name
    return replace(_embedded(spec), name=name, scored_steps=STREAM_SCORED_STEPS)


def _open_changed(spec: FamilySpec, meaning: Meaning, name: str, num_trials: int) -> TaskBatch:
    return ChangedMeaning(open_tasks(spec, None, num_trials=num_trials, device="cpu"), meaning, name=name)
