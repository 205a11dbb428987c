"""Tests of outer steps: Reptile, MAML and Meta-SGD match computations by hand, and none changes the learner."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from agent.config.settings import OuterStep
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.return_gradient import return_gradient
from agent.learners.rl2.rollout import collect_trials
from agent.trainer.faults import UnscoredError
from agent.trainer.heartbeat import JobInterruptedError
from agent.trainer.jobs import outer_steps
from agent.trainer.jobs.consolidate import consolidate
from agent.trainer.jobs.outer_steps import OUTER_TASKS, between, maml, meta_sgd, slow_weights
from agent.trainer.practice.rl2 import practise
from agent.trainer.session import TrainerSession, learner_name
from envs.family import Split
from memory.records import Family, JobOutcome
from memory.store import Store
from tests.agent.trainer.conftest import SessionMaker, feed_bandits, settings_for
from tests.agent.trainer.test_jobs import _open_failing


def _session(store: Store, open_session: SessionMaker, *, opener: Any = None, **section: Any) -> TrainerSession:
    quick = {"trials_tensor": 64, "trials_gymnasium": 4, "outer_updates": 2, **section}
    settings = settings_for(store.folder.path, consolidation=quick)
    return open_session(store, settings=settings, **({} if opener is None else {"opener": opener}))


def _practised(store: Store, session: TrainerSession, *, num_slices: int = 2) -> Family:
    family = feed_bandits(store)
    for _ in range(num_slices):
        practise(session, family, reason="test")
    return store.families.get("bandits")


def test_reptiles_step_takes_the_rates_of_single_tensors_where_there_are_any() -> None:
    slow, fast = ({"a": torch.tensor([v]), "b": torch.tensor([v])} for v in (1.0, 5.0))
    found = between(slow, fast, rate=0.5, rates={"a": 0.25})
    assert {name: value.item() for name, value in found.items()} == {"a": 2.0, "b": 3.0}


@pytest.mark.parametrize("step", OuterStep)
def test_an_outer_step_changes_nothing_of_the_learner_and_gives_the_same_again(
    store: Store, open_session: SessionMaker, step: OuterStep
) -> None:
    session = _session(store, open_session, outer_step=step)
    family = _practised(store, session)
    published = session.learner.initialization()
    practise(session, family, reason="test")
    before, fast = session.learner.to_tensors(), session.learner.initialization()
    first, second = (slow_weights(session, [family], published=published, fast=fast, rates={}) for _ in range(2))
    assert first.origin == second.origin
    assert all(torch.equal(tensor, second.tensors[name]) for name, tensor in first.tensors.items())
    assert all(torch.equal(tensor, session.learner.to_tensors()[name]) for name, tensor in before.items())
    assert any(not torch.equal(tensor, fast[name]) for name, tensor in first.tensors.items())


def test_one_update_of_maml_is_adams_step_along_the_gradient_at_the_adapted_parameters(
    store: Store, open_session: SessionMaker
) -> None:
    session = _session(store, open_session, outer_updates=1, inner_updates=2, maml_rate=0.01)
    family = _practised(store, session)
    start = session.learner.initialization()
    found = maml(session, [family], start=start).tensors

    seed = session.learner.seed + session.learner.num_updates(learner_name(family))
    draws = torch.Generator().manual_seed(seed)
    adapted = RL2Learner.from_tensors(
        session.config, session.learner.to_tensors(), session.learner.to_meta(), device="cpu"
    )
    adapted.load_initialization(start)
    adapted.generator.manual_seed(seed)
    tasks = session.tasks_of(family)

    def play(turn: int) -> Any:
        first = OUTER_TASKS + session.next_task[learner_name(family)] + turn * tasks.num_trials
        return collect_trials(adapted.policy, tasks, first_task=first, split=Split.TRAINING, generator=draws)

    for turn in range(2):
        adapted.update(learner_name(family), play(turn), num_epochs=session.config.num_epochs)
    config = session.config
    gradient = return_gradient(
        adapted.policy, play(2), discount=config.discount_for(5.0), gae_lambda=config.gae_lambda_for(5.0)
    )
    for name, part in gradient.items():
        first_of_adam = 0.01 * part / (part.abs() + 1e-8)
        assert torch.allclose(found[name], start[name] + first_of_adam, atol=1e-6), name


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_metasgds_rates_rise_along_the_gradient_and_fall_against_it(
    store: Store, open_session: SessionMaker, way: float
) -> None:
    session = _session(store, open_session, outer_updates=1, meta_sgd_rate=0.1)
    family = _practised(store, session)
    published = session.learner.initialization()
    gradient = outer_steps._Play(session).gradient(family, published)
    # The step is so small that the same actions are drawn: another action would give another trial and gradient.
    step = 1e-5
    fast: dict[str, Tensor] = dict(published)
    for name, part in gradient.items():
        fast[name] = published[name] + way * step * part / part.norm().clamp(min=1e-3)
    rates = meta_sgd(session, [family], published=published, fast=fast, rates={}).rates
    slopes = {name: step * norm for name, part in gradient.items() if (norm := float(part.norm())) > 1e-3}
    first_of_adam = {name: way * 0.1 * slope / (slope + 1e-8) for name, slope in slopes.items()}
    assert len(slopes) > 5
    assert {name: rates[name] - 0.5 for name in slopes} == pytest.approx(first_of_adam, abs=2e-3)


def test_metasgds_rates_stay_between_what_was_tried_and_go_on_from_the_published_version(
    store: Store, open_session: SessionMaker
) -> None:
    session = _session(store, open_session, outer_step="meta-sgd", meta_sgd_rate=1.0, tolerance=1.0)
    family = _practised(store, session)
    consolidate(session)
    for _ in range(20):
        practise(session, family, reason="test")
    _, detail = consolidate(session)
    assert detail["version"] == 2
    rates = store.initializations.get(2).provenance["outer_rates"]
    assert rates.keys() == dict(session.learner.policy.named_parameters()).keys()
    assert all(0.0 <= rate <= 1.0 for rate in rates.values())
    assert set(rates.values()) & {0.0, 1.0}

    seen: dict[str, float] = {}

    def listen(*_: Any, rates: dict[str, float], **named: Any) -> Any:
        seen.update(rates)
        return outer_steps.Proposal(origin="test", tensors=dict(named["fast"]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent.trainer.jobs.consolidate.slow_weights", listen)
        consolidate(session)
    assert seen == rates


def test_a_stop_ends_an_outer_step(store: Store, open_session: SessionMaker) -> None:
    session = _session(store, open_session, outer_step="maml", outer_updates=1000)
    family = _practised(store, session)
    consolidate(session)
    beats = 0

    def stop_soon(units: int = 1) -> None:
        nonlocal beats
        beats += units
        if beats > 30:
            raise JobInterruptedError

    session.heartbeat.beat_or_give_up = stop_soon  # type: ignore[method-assign]
    published = session.learner.initialization()
    with pytest.raises(JobInterruptedError):
        slow_weights(session, [family], published=published, fast=published, rates={})


def test_time_ends_an_outer_step_with_the_updates_made(store: Store, open_session: SessionMaker) -> None:
    session = _session(store, open_session, outer_step="maml", outer_updates=1000, outer_limit_s=1e-6)
    family = _practised(store, session)
    assert maml(session, [family], start=session.learner.initialization()).origin.endswith("then 1 updates of MAML")


def test_a_family_that_fails_in_an_outer_step_costs_itself_a_strike_and_the_round(
    store: Store, open_session: SessionMaker
) -> None:
    session = _session(store, open_session, outer_step="maml")
    practise(session, feed_bandits(store, "broken"), reason="test")
    consolidate(session)
    failing = _session(store, open_session, outer_step="maml", opener=_open_failing)
    published = session.learner.initialization()
    with pytest.raises(UnscoredError, match="broken could not be scored"):
        slow_weights(failing, [store.families.get("broken")], published=published, fast=published, rates={})
    assert store.families.get("broken").strikes == 1
    assert consolidate(failing)[0] is JobOutcome.SKIPPED


def test_reptile_stands_in_for_an_outer_step_that_diverges(store: Store, open_session: SessionMaker) -> None:
    session = _session(store, open_session, outer_step="maml", outer_updates=1)
    family = _practised(store, session)
    published = session.learner.initialization()

    def diverged(*_: Any, **__: Any) -> dict[str, Tensor]:
        return {name: torch.full_like(p, float("nan")) for name, p in session.learner.policy.named_parameters()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outer_steps, "return_gradient", diverged)
        found = slow_weights(session, [family], published=published, fast=published, rates={})
    assert found.origin == "slow weights, rate 0.5"
