"""Listed transitions give what counted ones give, unless an action leads to more observations than are listed."""

from __future__ import annotations

import pytest
import torch

from agent.learners.rl2.in_trial_memory.table import TableMemory
from agent.learners.rl2.in_trial_memory.transitions import (
    LISTED,
    MANY_OBSERVATIONS,
    CountedTransitions,
    ListedTransitions,
    Transitions,
    no_transitions,
)
from envs.spaces import ActionKind, ActionSpec

B, S, K, G = 3, 20, 2, 2


def both() -> tuple[Transitions, Transitions]:
    return CountedTransitions.none(B, S, K, device="cpu"), ListedTransitions.none(B, S, K, device="cpu")


def add_steps(*all_transitions: Transitions, num_next: int, seed: int = 0, num_steps: int = 200) -> None:
    """Add random steps, of which an observation and action lead to at most ``num_next`` observations."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(num_steps):
        at = torch.randint(S * K, (B,), generator=generator)
        following = (at * 7 + torch.randint(num_next, (B,), generator=generator)) % S
        weight = (torch.rand(B, generator=generator) < 0.8).float()
        for transitions in all_transitions:
            transitions.add(torch.arange(B) * S * K + at, following, weight)


def followed(transitions: Transitions, rows: int = B) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    values = torch.randn(rows, S, G, generator=generator)
    return transitions.followed(values, torch.full((rows, 1, G), 100.0))


def test_many_observations_are_listed_and_few_are_counted() -> None:
    assert isinstance(no_transitions(1, MANY_OBSERVATIONS, 2, device="cpu"), ListedTransitions)
    assert isinstance(no_transitions(1, MANY_OBSERVATIONS - 1, 2, device="cpu"), CountedTransitions)


def test_listed_transitions_give_what_counted_ones_give() -> None:
    counted, listed = both()
    torch.testing.assert_close(followed(listed), followed(counted))
    add_steps(counted, listed, num_next=LISTED)
    torch.testing.assert_close(followed(listed), followed(counted))


def test_a_transition_that_is_not_listed_is_followed_by_the_usual_value() -> None:
    listed = ListedTransitions.none(1, S, K, device="cpu")
    place, one = torch.tensor([3 * K + 1]), torch.ones(1)
    for following in (*range(LISTED), LISTED, LISTED, 0):  # the last but two are one too many
        listed.add(place, torch.tensor([following]), one)
    values = torch.arange(S, dtype=torch.float32).view(1, S, 1)
    summed = listed.followed(values, torch.full((1, 1, 1), 100.0))[0, 3 * K + 1]
    assert float(summed) == sum(range(LISTED)) + 2 * 100.0
    assert int(listed.followed(values, torch.ones(1, 1, 1)).count_nonzero()) == 1


@pytest.mark.parametrize("rows", [[2, 0], [1, 1, 0]])
def test_kept_trials_go_on_in_their_new_order(rows: list[int]) -> None:
    counted, listed = (transitions.kept(torch.tensor(rows)) for transitions in _filled())
    torch.testing.assert_close(followed(listed, len(rows)), followed(counted, len(rows)))
    at = torch.arange(len(rows)) * S * K + 5
    for transitions in (counted, listed):
        transitions.add(at, torch.full((len(rows),), 16), torch.ones(len(rows)))
    torch.testing.assert_close(followed(listed, len(rows)), followed(counted, len(rows)))


def test_forgotten_trials_begin_anew_and_the_others_go_on() -> None:
    counted, listed = _filled()
    for transitions in (counted, listed):
        transitions.forget(torch.tensor([1]))
    assert not bool(followed(listed)[1].any())
    add_steps(counted, listed, num_next=LISTED, seed=0, num_steps=20)
    torch.testing.assert_close(followed(listed), followed(counted))


def test_a_memory_reads_the_same_whether_its_transitions_are_listed_or_counted() -> None:
    action = ActionSpec(kind=ActionKind.DISCRETE, choices=(K,), start=(0,))
    memories = [TableMemory(B, size, action, discounts=(0.9,)) for size in (MANY_OBSERVATIONS - 1, MANY_OBSERVATIONS)]
    generator = torch.Generator().manual_seed(2)
    observation, none = torch.zeros(B, 1), torch.zeros(B, dtype=torch.bool)
    for _ in range(150):
        torch.testing.assert_close(memories[0].read(observation), memories[1].read(observation))
        chosen = torch.randint(K, (B,), generator=generator)
        following = (observation * 3 + 1 + chosen.unsqueeze(1)) % S
        for memory in memories:
            memory.write(
                observation=observation,
                action=chosen,
                reward=(following[:, 0] == 7).float(),
                next_observation=following,
                terminated=none,
                active=~none,
            )
        observation = following


def _filled() -> tuple[Transitions, Transitions]:
    counted, listed = both()
    add_steps(counted, listed, num_next=LISTED)
    return counted, listed
