"""The distance that lets strokes move: by hand, by its bounds, and its gradients against finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from agent.learners.embedding import tolerant_distance
from agent.learners.embedding.prototypical import squared_distances
from agent.learners.embedding.tolerant_distance import tolerant_distances

MAP = (3, 4, 5)


def random_features(tasks: int, examples: int, *, seed: int) -> Tensor:
    size = MAP[0] * MAP[1] * MAP[2]
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tasks, examples, size, generator=generator, dtype=torch.float64)


def one_pair_by_its_definition(u: Tensor, v: Tensor) -> float:
    """a(u, v) of two maps [C, H, W], place by place and displacement by displacement."""
    _, height, width = u.shape
    total = 0.0
    for y in range(height):
        for x in range(width):
            squares = []
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    near_y, near_x = min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)
                    around = v[:, y, x] + v[:, near_y, x] + v[:, y, near_x] + v[:, near_y, near_x]
                    squares.append(float((u[:, y, x] - around / 4).square().sum()))
            total += min(squares)
    return total


def test_a_row_against_itself_moved_by_a_place_by_hand() -> None:
    u, v = torch.tensor([[[0.0, 4.0, 0.0]]]), torch.tensor([[[0.0, 0.0, 4.0]]])
    # Each 4 finds the 2 half way to the other, and so does the 0 that stands where the other is: 0 + 4 + 4, both ways.
    assert tolerant_distances(u, v, map_shape=(1, 1, 3)).tolist() == [[[8.0]]]
    assert squared_distances(u, v).tolist() == [[[32.0]]]


def test_it_is_its_definition_both_ways_averaged() -> None:
    left, right = random_features(2, 3, seed=0), random_features(2, 2, seed=1)
    found = tolerant_distances(left, right, map_shape=MAP)
    for task in range(2):
        for q in range(3):
            for n in range(2):
                u, v = left[task, q].view(MAP), right[task, n].view(MAP)
                both = one_pair_by_its_definition(u, v) + one_pair_by_its_definition(v, u)
                assert float(found[task, q, n]) == pytest.approx(both / 2, rel=1e-9)


def test_it_is_never_above_the_squared_distance_and_nothing_from_itself() -> None:
    left, right = random_features(1, 6, seed=0), random_features(1, 5, seed=1)
    assert bool((tolerant_distances(left, right, map_shape=MAP) <= squared_distances(left, right) + 1e-9).all())
    own = tolerant_distances(left, left, map_shape=MAP)[0]
    torch.testing.assert_close(own.diagonal(), torch.zeros(6, dtype=torch.float64), rtol=0.0, atol=1e-9)
    assert bool((own + 1e-9 >= 0.0).all())


def test_of_a_set_with_itself_it_is_what_it_is_of_two_equal_sets() -> None:
    features = random_features(2, 4, seed=0)
    itself = tolerant_distances(features, features, map_shape=MAP)
    torch.testing.assert_close(itself, tolerant_distances(features, features.clone(), map_shape=MAP))
    torch.testing.assert_close(itself, itself.mT)


def test_what_stands_in_a_map_is_nearer_moved_than_changed() -> None:
    ink = torch.zeros(1, 1, *MAP)
    ink[0, 0, 0, 1, 1:3] = 1.0
    moved, changed = ink.roll(1, 4), ink.roll(1, 2)  # one column on; another channel
    by_place = [float(squared_distances(ink.flatten(2), other.flatten(2))) for other in (moved, changed)]
    tolerant = [float(tolerant_distances(ink.flatten(2), o.flatten(2), map_shape=MAP)) for o in (moved, changed)]
    assert by_place == [2.0, 4.0]
    assert tolerant[0] < 0.5 * tolerant[1]


def test_gradients_are_those_of_finite_differences() -> None:
    left, right = random_features(2, 3, seed=0).requires_grad_(), random_features(2, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda u, v: tolerant_distances(u, v, map_shape=MAP), (left, right))
    assert torch.autograd.gradcheck(lambda u: tolerant_distances(u, u, map_shape=MAP), (left,))


@pytest.mark.parametrize("numbers", [1, 150, 10**9])
def test_blocks_of_places_change_neither_distances_nor_gradients(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = random_features(2, 3, seed=0).requires_grad_(), random_features(2, 2, seed=1).requires_grad_()

    def found() -> tuple[Tensor, ...]:
        distances = tolerant_distances(left, right, map_shape=MAP)
        return distances.detach(), *torch.autograd.grad(distances.square().sum(), (left, right))

    whole = found()
    monkeypatch.setattr(tolerant_distance, "BLOCK_NUMBERS", numbers)
    for ours, theirs in zip(found(), whole, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_without_gradients_many_examples_are_compared_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = random_features(2, 3, seed=0), random_features(2, 7, seed=1)
    whole = tolerant_distances(left, right, map_shape=MAP)
    sizes = []
    displaced = tolerant_distance._displaced

    def watched(features: Tensor, map_shape: tuple[int, ...]) -> Tensor:
        sizes.append(features.shape[1])
        return displaced(features, map_shape)

    monkeypatch.setattr(tolerant_distance, "_displaced", watched)
    monkeypatch.setattr(tolerant_distance, "DISPLACED_AT_ONCE", 3)
    with torch.no_grad():
        torch.testing.assert_close(tolerant_distances(left, right, map_shape=MAP), whole)
    assert sizes == [3, 3, 1, 3]
