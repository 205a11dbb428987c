"""Scores on held-out tasks: the same tasks each time, so that two policies are compared task by task.

Shapes: N trials, E episodes of a trial.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agent.learner.session import held_out_trials, is_tensor_native, learned_config, spaces_of, worker_limits
from agent.rl2.policy import RL2Policy, policy_from_initialization
from agent.rl2.rollout import collect_trials
from agent.rl2.trials import episode_returns, trial_returns
from agent.settings import Settings
from envs.family import FamilySpec, Split
from envs.registry import open_tasks
from envs.task_batch import TaskBatch
from memory.records import CurveMetric, CurvePoint, Family
from memory.store import Store

EVALUATION_TASKS = 0
"""First held-out task of evaluations, whose curves people watch."""

GATE_TASKS = 1_000_000
"""First held-out task of consolidation's gate: what decides on publishing is not what is plotted."""

SCORING_SEED = 20_161_109


@dataclass(frozen=True, kw_only=True)
class HeldOutReturns:
    """Returns of a policy on N held-out tasks, one trial each.

    Attributes:
        trials: [N] return of each trial.
        episodes: [E, N] return of each episode of each trial.
    """

    trials: Float[Tensor, " N"]
    episodes: Float[Tensor, "E N"]

    @property
    def mean(self) -> float:
        """Mean trial return."""
        return float(self.trials.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of the mean trial return."""
        return standard_error(self.trials)


def standard_error(values: Tensor) -> float:
    """Standard error of the mean of [N] values; 0 for a single one."""
    num_values = values.shape[-1]
    return float(values.std(dim=-1)) / math.sqrt(num_values) if num_values > 1 else 0.0


def held_out_returns(
    policy: RL2Policy,
    tasks: TaskBatch,
    *,
    first_task: int,
    num_trials: int,
    progress: Callable[[int], None] | None = None,
) -> HeldOutReturns:
    """Play one trial in each of at least ``num_trials`` held-out tasks.

    The number is rounded up to whole batches of ``tasks``. Actions are sampled from a generator of fixed seed, so
    that the same policy gets the same returns.
    """
    generator = torch.Generator(device=tasks.device).manual_seed(SCORING_SEED)
    trials, episodes = [], []
    for offset in range(0, num_trials, tasks.num_trials):
        batch = collect_trials(
            policy, tasks, first_task=first_task + offset, split=Split.HELD_OUT, generator=generator, progress=progress
        )
        trials.append(trial_returns(batch))
        episodes.append(episode_returns(batch))
    return HeldOutReturns(trials=torch.cat(trials).cpu(), episodes=torch.cat(episodes, dim=1).cpu())


def score_of(trial_return: float, *, random_return: float, reference_return: float) -> float:
    """Place a trial return on the scale where random actions score 0 and the reference scores 1."""
    span = reference_return - random_return
    return (trial_return - random_return) / span if span > 0 else 0.0


def evaluation_points(
    returns: HeldOutReturns, *, random_return: float, reference_return: float
) -> tuple[CurvePoint, ...]:
    """Curve points of one evaluation: score, trial return, and the return of each episode of the trial."""
    span = reference_return - random_return
    score = score_of(returns.mean, random_return=random_return, reference_return=reference_return)
    return (
        CurvePoint(
            metric=CurveMetric.EVAL_SCORE,
            value=score,
            standard_error=returns.standard_error / span if span > 0 else 0.0,
        ),
        CurvePoint(metric=CurveMetric.EVAL_RETURN, value=returns.mean, standard_error=returns.standard_error),
        *(
            CurvePoint(
                metric=CurveMetric.EPISODE_RETURN,
                label=str(index),
                value=float(values.mean()),
                standard_error=standard_error(values),
            )
            for index, values in enumerate(returns.episodes)
            if is_charted(index, num_episodes=len(returns.episodes))
        ),
    )


def is_charted(index: int, *, num_episodes: int) -> bool:
    """Whether an episode of the trial has a curve of its own: the first ten, then the last (bounded labels)."""
    return index < 10 or index == num_episodes - 1


@dataclass(frozen=True, kw_only=True)
class EpisodeScore:
    """Mean return of one episode of the trial over all trials; ``index`` counts from 0."""

    index: int
    mean_return: float
    standard_error: float


@dataclass(frozen=True, kw_only=True)
class VersionScore:
    """How a published version does on a family's held-out tasks.

    Attributes:
        score: 0 at random actions, 1 at the reference.
        standard_error: of the score.
        mean_return: mean trial return.
        return_standard_error: of the mean trial return.
        episodes: return by episode of the trial: what adaptation brings.
    """

    family: str
    num_trials: int
    score: float
    standard_error: float
    mean_return: float
    return_standard_error: float
    episodes: tuple[EpisodeScore, ...]


def score_version(
    store: Store,
    settings: Settings,
    *,
    version: int,
    families: Sequence[str],
    trials: int | None,
    progress: Callable[[str], None],
) -> list[VersionScore]:
    """Score a published version on held-out tasks, in this process.

    Args:
        store: where the version and the families are.
        settings: limits of workers, and the number of trials where ``trials`` is None.
        version: its number.
        families: names of admitted families; those whose spaces the version does not know are left out.
        trials: held-out trials a family, rounded up to whole batches; None takes the setting.
        progress: called with what is being scored.

    Raises:
        WorkerFaultError: a family's worker failed.
    """
    initialization = store.initialization(version)
    config = learned_config(initialization.provenance["config"])
    tensors = {name: torch.from_numpy(array) for name, array in store.load_parameters(initialization.file).items()}
    known = [store.family(name) for name in families]
    policy = policy_from_initialization(config, tensors, [spaces_of(family) for family in known])
    scores = []
    for family in known:
        if not policy.knows(spaces_of(family)):
            continue
        num_trials = trials or held_out_trials(family, settings.consolidation)
        tasks = open_tasks(
            FamilySpec.from_json(family.spec),
            spaces_of(family),
            num_trials=min(num_trials, config.num_trials_for(is_tensor_native=is_tensor_native(family))),
            device="cpu",
            limits=worker_limits(settings),
        )

        def tell(steps: int, name: str = family.name) -> None:
            progress(f"{name}, {steps} steps")

        try:
            returns = held_out_returns(policy, tasks, first_task=EVALUATION_TASKS, num_trials=num_trials, progress=tell)
        finally:
            tasks.close()
        scores.append(_version_score(family, returns))
    return scores


def _version_score(family: Family, returns: HeldOutReturns) -> VersionScore:
    random_return = family.random_return or 0.0
    reference_return = family.reference_return if family.reference_return is not None else returns.mean
    span = reference_return - random_return
    return VersionScore(
        family=family.name,
        num_trials=len(returns.trials),
        score=score_of(returns.mean, random_return=random_return, reference_return=reference_return),
        standard_error=returns.standard_error / span if span > 0 else 0.0,
        mean_return=returns.mean,
        return_standard_error=returns.standard_error,
        episodes=tuple(
            EpisodeScore(index=index, mean_return=float(values.mean()), standard_error=standard_error(values))
            for index, values in enumerate(returns.episodes)
        ),
    )
