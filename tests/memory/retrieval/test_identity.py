"""Trials of equal identities were played in the same task, wherever it was drawn."""

from __future__ import annotations

from memory.retrieval.identity import task_identity

DIGEST, OTHER = b"a" * 16, b"b" * 16
PLACE = {"split": "training", "index": 3, "seed": 1, "attributes": {}, "kwargs": {}, "reset_options": {}}


def test_tasks_with_equal_drawn_values_are_one_task() -> None:
    drawn = {**PLACE, "attributes": {"mass": 2.0}}
    assert task_identity("f", drawn, DIGEST) == task_identity("f", {**drawn, "index": 4, "seed": 9}, OTHER)
    assert task_identity("f", drawn, DIGEST) != task_identity("f", {**drawn, "attributes": {"mass": 2.5}}, DIGEST)
    assert task_identity("f", drawn, DIGEST) == task_identity("f", {**drawn, "context": "0a"}, DIGEST)


def test_without_drawn_values_tasks_with_an_equal_context_are_one_task() -> None:
    named = {**PLACE, "context": "0a"}
    assert task_identity("f", named, DIGEST) == task_identity("f", {**named, "index": 4}, OTHER)
    assert task_identity("f", named, DIGEST) != task_identity("f", {**named, "context": "0b"}, DIGEST)


def test_without_a_context_the_place_tells_tasks_apart() -> None:
    assert task_identity("f", PLACE, DIGEST) == task_identity("f", {**PLACE, "seed": 9}, OTHER)
    assert task_identity("f", PLACE, DIGEST) != task_identity("f", {**PLACE, "index": 4}, DIGEST)
    assert task_identity("f", PLACE, DIGEST) != task_identity("f", {**PLACE, "split": "held_out"}, DIGEST)


def test_a_task_of_which_nothing_is_known_is_its_digest() -> None:
    assert task_identity("f", {}, DIGEST) == task_identity("f", {}, DIGEST)
    assert task_identity("f", {}, DIGEST) != task_identity("f", {}, OTHER)


def test_tasks_of_different_families_differ() -> None:
    for task in (PLACE, {**PLACE, "context": "0a"}, {**PLACE, "kwargs": {"size": 4}}):
        assert task_identity("f", task, DIGEST) != task_identity("g", task, DIGEST)
