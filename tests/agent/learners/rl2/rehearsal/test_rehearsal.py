"""Rehearsal keeps what was learned of other families, and costs nothing where nothing is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.rehearsal.rehearsal import MEASURED_FAMILIES, Rehearsal
from agent.learners.rl2.rehearsal.rehearsal_slice import FOLLOWING, FULL_LOSS, TOLERANCE
from agent.learners.rl2.rehearsal.reservoir import HELD_BACK_EVERY, Reservoir, is_held_back
from agent.learners.rl2.trials import to_records
from envs.spaces import ActionKind, ActionSpec, ImageShape, ObservationKind, ObservationSpec, SpacePair
from memory.records import NUM_SLOTS, EpisodeRecord
from tests.agent.learners.rl2.playing import learner_for, play
from tests.agent.learners.rl2.scripted_tasks import DISCRETE, IMAGES, VECTOR

OTHER = replace(VECTOR, action=ActionSpec(kind=ActionKind.DISCRETE, choices=(4,), start=(0,)))
OTHER_IMAGES = replace(IMAGES, action=OTHER.action)


def learner_of_two() -> RL2Learner:
    """Return a learner of the families ``scripted`` and ``another``, which share their spaces."""
    learner = learner_for(VECTOR)
    learner.add_family("another", VECTOR)
    return learner


def remember(rehearsal: Rehearsal, learner: RL2Learner, name: str, spaces: SpacePair, *, times: int = 2) -> None:
    """Put trials of the present policy into a family's reservoir."""
    for first_task in range(times):
        trials = play(learner, spaces, first_task=100 + first_task)
        records = to_records(
            trials,
            rows=range(4),
            tasks=[{}] * 4,
            decisions=trials.decisions,
            slots=rehearsal.next_slots(name, 4),
        )
        rehearsal.add(name, records)


def lose(learner: RL2Learner, spaces: SpacePair) -> None:
    """Change what the policy does in these spaces."""
    with torch.no_grad():
        learner.policy.pair(spaces).head.bias[0] += 1.5


def rehearsal_of_a_lost_family() -> tuple[RL2Learner, Rehearsal]:
    """Return a learner of two families that has lost ``scripted``, and the rehearsal that remembers it."""
    learner = learner_of_two()
    rehearsal = Rehearsal(learner)
    remember(rehearsal, learner, "scripted", VECTOR)
    lose(learner, VECTOR)
    return learner, rehearsal


def test_steps_of_rehearsal_bring_back_what_was_lost() -> None:
    _, rehearsal = rehearsal_of_a_lost_family()
    lost = rehearsal.measure("scripted")
    assert lost > 10 * TOLERANCE
    rehearsed = rehearsal.begin("another")
    for _ in range(200):
        rehearsed.step()
    assert rehearsal.measure("scripted") < lost / 10


def test_steps_of_a_policy_that_diverged_go_on_to_the_end_of_the_slice() -> None:
    learner, rehearsal = rehearsal_of_a_lost_family()
    rehearsed = rehearsal.begin("another")
    before = rehearsed.losses
    with torch.no_grad():
        learner.policy.pair(VECTOR).head.bias.fill_(torch.nan)
    for _ in range(3):
        rehearsed.step()
    assert rehearsed.losses == before
    assert not learner.is_finite(["scripted"])


def test_nothing_is_rehearsed_where_nothing_is_lost() -> None:
    learner = learner_of_two()
    rehearsal = Rehearsal(learner)
    remember(rehearsal, learner, "scripted", VECTOR)
    before = {name: tensor.clone() for name, tensor in learner.policy.state_dict().items()}
    rehearsed = rehearsal.begin("another")
    for _ in range(20):
        rehearsed.after_minibatch(100)
    assert rehearsed.num_steps == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.policy.state_dict().items())


def test_the_practised_family_is_not_rehearsed() -> None:
    learner = learner_for(VECTOR)
    rehearsal = Rehearsal(learner)
    remember(rehearsal, learner, "scripted", VECTOR)
    lose(learner, VECTOR)
    assert rehearsal.begin("scripted").losses == {}


def test_families_with_images_are_rehearsed_together() -> None:
    learner = learner_for(IMAGES)
    learner.add_family("other", OTHER_IMAGES)
    learner.add_family("practised", OTHER_IMAGES)
    rehearsal = Rehearsal(learner)
    for name, spaces in (("scripted", IMAGES), ("other", OTHER_IMAGES)):
        remember(rehearsal, learner, name, spaces)
        lose(learner, spaces)
    lost = {name: rehearsal.measure(name) for name in ("scripted", "other")}
    rehearsed = rehearsal.begin("practised")
    assert rehearsed.losses.keys() == lost.keys()
    for _ in range(300):
        rehearsed.step()
    assert all(rehearsal.measure(name) < loss / 3 for name, loss in lost.items())


def test_a_family_that_shares_no_parameter_is_neither_measured_nor_rehearsed() -> None:
    learner = learner_for(VECTOR)
    rehearsal = Rehearsal(learner)
    for name, spaces in (("other", OTHER), ("images", IMAGES)):
        learner.add_family(name, spaces)
        remember(rehearsal, learner, name, spaces)
        lose(learner, spaces)
    rehearsed = rehearsal.begin("scripted")
    assert (rehearsed.losses, rehearsed.measured) == ({}, ())
    assert rehearsal.begin_repair(["other"]).losses.keys() == {"other"}
    assert rehearsal.losses["images"] == 0.0


def test_a_family_is_rehearsed_during_practice_of_other_spaces_as_well() -> None:
    learner = learner_of_two()
    learner.add_family("indices", DISCRETE)
    rehearsal = Rehearsal(learner)
    remember(rehearsal, learner, "scripted", VECTOR)
    lose(learner, VECTOR)
    assert rehearsal.begin("indices").losses.keys() == {"scripted"}


def test_two_families_of_the_same_spaces_share_a_lesson_and_keep_their_own_losses() -> None:
    learner = learner_for(VECTOR)
    learner.add_family("twin", VECTOR)
    rehearsal = Rehearsal(learner)
    remember(rehearsal, learner, "scripted", VECTOR)
    lose(learner, VECTOR)
    remember(rehearsal, learner, "twin", VECTOR)
    rehearsal.losses = dict.fromkeys(("scripted", "twin"), 1.0)
    rehearsed = rehearsal.prepare(("scripted", "twin"))
    rehearsed.step()
    assert rehearsed.losses["twin"] == pytest.approx(1.0 - FOLLOWING, abs=1e-4)
    assert rehearsed.losses["scripted"] > 1.0 - FOLLOWING + 0.01


def test_each_family_is_measured_in_turn() -> None:
    learner = learner_for(VECTOR)
    names = [f"family {index}" for index in range(2 * MEASURED_FAMILIES)]
    rehearsal = Rehearsal(learner)
    for name in names:
        learner.add_family(name, VECTOR)
        remember(rehearsal, learner, name, VECTOR, times=1)
    lose(learner, VECTOR)
    rehearsal.begin("scripted")
    assert [name for name in names if rehearsal.losses[name] > 0] == names[:MEASURED_FAMILIES]
    rehearsal.begin("scripted")
    assert all(rehearsal.losses[name] > 0 for name in names)


def test_without_time_one_family_is_measured_and_the_one_that_loses_most_is_prepared() -> None:
    learner = learner_for(VECTOR)
    names = ["first", "second", "third"]
    rehearsal = Rehearsal(learner)
    for name in names:
        learner.add_family(name, VECTOR)
        remember(rehearsal, learner, name, VECTOR)
    lose(learner, VECTOR)
    begun = [rehearsal.begin("scripted", within_s=0.0) for _ in names]
    assert [rehearsed.measured for rehearsed in begun] == [("first",), ("second",), ("third",)]
    assert [len(rehearsed.losses) for rehearsed in begun] == [1, 1, 1]
    assert begun[2].losses == {name: rehearsal.losses[name] for name in begun[2].losses}
    assert begun[2].losses.popitem()[1] == max(rehearsal.losses.values())


def test_a_slice_that_has_no_time_for_it_takes_no_step_of_rehearsal() -> None:
    learner = learner_of_two()
    rehearsal = Rehearsal(learner)
    remember(rehearsal, learner, "scripted", VECTOR)
    lose(learner, VECTOR)
    rehearsed = rehearsal.begin("another")
    rehearsed.may_step = lambda: False
    rehearsed.after_minibatch(100)
    assert rehearsed.num_steps == 0
    rehearsed.may_step = lambda: True
    rehearsed.after_minibatch(100)
    assert rehearsed.num_steps == 1


def test_a_slice_loads_the_reservoirs_that_it_measures_alone() -> None:
    learner = learner_for(VECTOR)
    names = [f"family {index}" for index in range(3 * MEASURED_FAMILIES)]
    for name in names:
        learner.add_family(name, VECTOR)
    loaded: list[str] = []

    def load(name: str) -> Reservoir:
        loaded.append(name)
        return Reservoir(spaces=VECTOR)

    Rehearsal(learner, load=load, losses=dict.fromkeys(names, 0.0)).begin("scripted")
    assert loaded == names[:MEASURED_FAMILIES]


def test_trials_that_measure_are_never_trained_on() -> None:
    learner = learner_for(VECTOR)
    rehearsal = Rehearsal(learner)
    remember(rehearsal, learner, "scripted", VECTOR, times=5)
    reservoir = rehearsal.reservoir("scripted")
    trained, held_back = (reservoir.usable(held_back=part) for part in (False, True))
    assert len(held_back) == 20 // HELD_BACK_EVERY
    assert len(trained) + len(held_back) == 20
    assert {id(trial) for trial in trained}.isdisjoint(id(trial) for trial in held_back)
    assert {slot for slot, trial in reservoir.trials.items() if is_held_back(slot)} == {3, 7, 11, 15, 19}


def test_a_trial_without_decisions_is_not_rehearsed() -> None:
    learner = learner_of_two()
    trials = play(learner, VECTOR)
    rehearsal = Rehearsal(learner)
    rehearsal.add("scripted", to_records(trials, rows=range(4), tasks=[{}] * 4, slots=[0, 1, 2, 3]))
    assert rehearsal.begin("another").losses == {}
    assert rehearsal.measure("scripted") == 0.0


def test_only_the_longest_trials_of_a_growing_curriculum_are_rehearsed() -> None:
    learner = learner_for(VECTOR)
    rehearsal = Rehearsal(learner)
    for episodes in (1, 2, 3):
        trials = play(learner, VECTOR, num_episodes=episodes)
        slots = rehearsal.next_slots("scripted", 4)
        rehearsal.add(
            "scripted", to_records(trials, rows=range(4), tasks=[{}] * 4, decisions=trials.decisions, slots=slots)
        )
    usable = rehearsal.reservoir("scripted").usable(held_back=False)
    assert [len(trial.episodes) for trial in usable] == [3, 3, 3]


def test_rehearsal_depends_on_the_learners_generator_alone() -> None:
    results = []
    for _ in range(2):
        learner = learner_of_two()
        rehearsal = Rehearsal(learner)
        remember(rehearsal, learner, "scripted", VECTOR)
        lose(learner, VECTOR)
        rehearsed = rehearsal.begin("another")
        for _ in range(5):
            rehearsed.after_minibatch(100)
        results.append(learner.to_tensors())
    first, second = results
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("share", [0.25, 1.0, 4.0])
def test_at_most_as_many_steps_are_rehearsed_as_practised_and_fewer_if_less_is_lost(share: float) -> None:
    learner = learner_for(VECTOR)
    rehearsal = Rehearsal(learner)
    remember(rehearsal, learner, "scripted", VECTOR)
    rehearsal.losses = {"scripted": 1.0}
    rehearsed = rehearsal.prepare(["scripted"])
    steps_of_all = sum(len(episode.rewards) for episode in _episodes(rehearsal, "scripted"))
    for _ in range(100):
        rehearsed._losses.fill_(share * FULL_LOSS)
        rehearsed.after_minibatch(10)
    practised = 100 * 10 * min(1.0, share)
    assert practised <= rehearsed.num_steps * steps_of_all < practised + 2 * steps_of_all


def test_what_is_lost_of_a_family_in_practice_counts_less() -> None:
    learner = learner_of_two()
    rehearsal = Rehearsal(learner)
    remember(rehearsal, learner, "scripted", VECTOR)
    lose(learner, VECTOR)
    at_rest, in_practice = (rehearsal.begin("another", in_practice=names) for names in ((), ("scripted",)))
    for rehearsed in (at_rest, in_practice):
        rehearsed._losses.fill_(FULL_LOSS)
        for _ in range(20):
            rehearsed._losses.fill_(FULL_LOSS)
            rehearsed.after_minibatch(10)
    assert 0 < in_practice.num_steps < at_rest.num_steps


def _episodes(rehearsal: Rehearsal, name: str) -> list[EpisodeRecord]:
    """Return the episodes of the trials that are trained on."""
    return [episode for trial in rehearsal.reservoir(name).usable(held_back=False) for episode in trial.episodes]


def test_a_reservoir_of_large_images_has_fewer_slots() -> None:
    image = ImageShape(height=64, width=64, channels=3)
    large = replace(IMAGES, observation=ObservationSpec(kind=ObservationKind.IMAGE, size=0, images=(image,)))
    assert Reservoir(spaces=VECTOR).num_slots == Reservoir(spaces=IMAGES).num_slots == NUM_SLOTS
    reservoir = Reservoir(spaces=large)
    assert reservoir.num_slots == 10
    assert reservoir.next_slots(12) == [*range(10), 0, 1]


def test_a_repair_sends_a_beat_before_it_measures_each_family() -> None:
    learner = learner_for(VECTOR)
    rehearsal = Rehearsal(learner)
    remember(rehearsal, learner, "scripted", VECTOR, times=1)
    beats: list[str] = []
    rehearsal.begin_repair(["scripted"], progress=lambda: beats.append("beat"))
    assert len(beats) == len(rehearsal.losses) == 1


def test_a_repair_measures_what_it_repairs_and_others_only_while_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = learner_of_two()
    learner.add_family("third", VECTOR)
    rehearsal = Rehearsal(learner)
    for name in learner.families:
        remember(rehearsal, learner, name, VECTOR, times=1)
    measured: list[str] = []
    monkeypatch.setattr(rehearsal, "measure", lambda name: measured.append(name) or 0.0)
    rehearsal.begin_repair(["third"], within_s=-1.0)
    assert measured == ["third"]
    assert list(rehearsal.losses) == ["scripted", "another", "third"], "the others are measured first next time"
    rehearsal.begin_repair(["another"])
    assert sorted(measured[1:]) == ["another", "scripted", "third"]
