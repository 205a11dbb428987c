"""Scores of a published version on held-out tasks, computed outside the daemon and the trainer.

Shapes: N trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.config.settings import Settings
from agent.learners.evaluation.trials import HeldOutReturns, standard_error
from agent.learners.rl2.removed_settings import stored_config
from agent.learners.state import as_tensors
from agent.trainer.families import held_out_trials
from agent.trainer.practice.published import PublishedReturns
from agent.trainer.practice.registry import published_returns
from agent.trainer.score_scale import scale_of
from envs.errors import EnvsError
from envs.kinds import FamilyKind
from envs.limits import WorkerLimits
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
    on_family: Callable[[Family], None] | None = None,
    on_fault: Callable[[Family, EnvsError], None] | None = None,
) -> list[VersionScore]:
    """Score a published version on held-out tasks, in this process.

    Args:
        store: the store with the version and the families.
        settings: source of the limits of workers, and of the number of trials if ``trials`` is None.
        version: number of the version.
        families: names of admitted families; families that the version does not know are left out.
        trials: held-out trials per family, rounded up to whole batches; None for the number in the settings.
        progress: called with a description of what is being scored.
        on_family: called with each family before it is scored.
        on_fault: called with a family that failed; the others are scored all the same. None raises instead.

    Raises:
        EnvsError: a family's worker failed, or its images cannot be read, and ``on_fault`` is None.
        RemovedSettingError: the version's policy cannot act, because it learned with a setting that was removed.
    """
    initialization = store.initializations.get(version)
    known = [store.families.get(name) for name in families]
    published = _load_published(store, initialization, known, limits=settings.worker_limits())
    scores = []
    for family in known:
        part = published[family.kind]
        if on_family is not None:
            on_family(family)

        def tell(count: int, name: str = family.name, unit: str = part.unit) -> None:
            progress(f"{name}, {count} {unit}")

        num_trials = trials or held_out_trials(family, settings.consolidation)
        try:
            returns = part.returns(family, num_trials=num_trials, progress=tell)
        except EnvsError as fault:
            if on_fault is None:
                raise
            on_fault(family, fault)
            continue
        if returns is not None:
            scores.append(_version_score(family, returns))
    return scores


def _load_published(
    store: Store, initialization: Initialization, families: Sequence[Family], *, limits: WorkerLimits
) -> dict[FamilyKind, PublishedReturns]:
    """Load a version and return, for each kind of family, what scores it."""
    tensors = as_tensors(store.checkpoints.load_parameters(initialization.file))
    config = stored_config(initialization.provenance["config"])
    return published_returns(initialization, tensors, families, config=config, limits=limits)


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
