"""Scores of a published version on held-out tasks, computed outside the daemon and the trainer.

Shapes: N trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from agent.config.settings import Settings
from agent.learners.evaluation.few_shot import held_out_tasks
from agent.learners.evaluation.trials import EVALUATION_TASKS, HeldOutReturns, held_out_returns, standard_error
from agent.learners.factory import restore
from agent.learners.family_parts import part_of
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.policy import RL2Policy, policy_from_initialization
from agent.learners.rl2.removed_settings import stored_config
from agent.learners.state import as_tensors
from agent.trainer.families import family_kind, held_out_trials, is_tensor_native, learner_name, spaces_of
from agent.trainer.score_scale import scale_of
from envs.kinds import FamilyKind
from envs.registry import open_few_shot, open_tasks
from memory.records import Family, Initialization
from memory.store import Store


@dataclass(frozen=True, kw_only=True)
class EpisodeScore:
    """The mean return of one episode of the trial, over all trials.

    ``index`` is the number of the episode, from 0; for few-shot tasks, it is the number of shots.
    """

    index: int
    mean_return: float
    standard_error: float


@dataclass(frozen=True, kw_only=True)
class VersionScore:
    """The score of a published version on a family's held-out tasks.

    Attributes:
        family: name of the family.
        num_trials: number of held-out trials.
        score: 0 for random actions, 1 for the reference return; None without a reference.
        standard_error: standard error of the score; None without a score.
        mean_return: mean trial return.
        return_standard_error: standard error of the mean trial return.
        episodes: mean return by episode of the trial, which shows the effect of adaptation.
    """

    family: str
    num_trials: int
    score: float | None
    standard_error: float | None
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
        store: the store with the version and the families.
        settings: source of the limits of workers, and of the number of trials if ``trials`` is None.
        version: number of the version.
        families: names of admitted families; families that the version does not know are left out.
        trials: held-out trials per family, rounded up to whole batches; None for the number in the settings.
        progress: called with a description of what is being scored.

    Raises:
        WorkerFaultError: a family's worker failed.
        EnvsError: a few-shot family's images cannot be read.
        RemovedSettingError: the version's policy cannot act, because it learned with a setting that was removed.
    """
    initialization = store.initializations.get(version)
    config = stored_config(initialization.provenance["config"])
    tensors = as_tensors(store.checkpoints.load_parameters(initialization.file))
    known = [store.families.get(name) for name in families]
    played = [spaces_of(family) for family in known if family_kind(family) is not FamilyKind.FEW_SHOT]
    policy = policy_from_initialization(config, tensors, played)
    scores = []
    for family in known:
        num_trials = trials or held_out_trials(family, settings.consolidation)

        def tell(
            count: int,
            name: str = family.name,
            unit: str = "tasks" if family_kind(family) is FamilyKind.FEW_SHOT else "steps",
        ) -> None:
            progress(f"{name}, {count} {unit}")

        if family_kind(family) is FamilyKind.FEW_SHOT:
            returns = _answer(family, initialization, tensors, num_tasks=num_trials, progress=tell)
        elif policy.knows(spaces_of(family)):
            returns = _play(policy, config, family, settings, num_trials=num_trials, progress=tell)
        else:
            returns = None
        if returns is not None:
            scores.append(_version_score(family, returns))
    return scores


def _play(
    policy: RL2Policy,
    config: RL2Config,
    family: Family,
    settings: Settings,
    *,
    num_trials: int,
    progress: Callable[[int], None],
) -> HeldOutReturns:
    tasks = open_tasks(
        family.require_spec(),
        spaces_of(family),
        num_trials=min(num_trials, config.num_trials_for(is_tensor_native=is_tensor_native(family))),
        device="cpu",
        limits=settings.workers.limits(),
    )
    try:
        return held_out_returns(policy, tasks, first_task=EVALUATION_TASKS, num_trials=num_trials, progress=progress)
    finally:
        tasks.close()


def _answer(
    family: Family,
    initialization: Initialization,
    tensors: dict[str, Tensor],
    *,
    num_tasks: int,
    progress: Callable[[int], None],
) -> HeldOutReturns | None:
    """Return a few-shot family's held-out returns; None if the version does not know the family."""
    described = initialization.provenance.get("few_shot", {}).get(family.name)
    if described is None or described["name"] != learner_name(family):
        return None
    return held_out_tasks(
        restore(part_of(tensors, described["name"]), described["meta"]),
        open_few_shot(family.require_spec()),
        first_task=EVALUATION_TASKS,
        num_tasks=num_tasks,
        chance=family.random_return or 0.0,
        progress=progress,
    )


def _version_score(family: Family, returns: HeldOutReturns) -> VersionScore:
    scale = scale_of(family)
    return VersionScore(
        family=family.name,
        num_trials=len(returns.trials),
        score=None if scale is None else scale.score(returns.mean),
        standard_error=None if scale is None else scale.error(returns.standard_error),
        mean_return=returns.mean,
        return_standard_error=returns.standard_error,
        episodes=tuple(
            EpisodeScore(index=label, mean_return=float(values.mean()), standard_error=standard_error(values))
            for label, values in returns.labelled_episodes
        ),
    )
