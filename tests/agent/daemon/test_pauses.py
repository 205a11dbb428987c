"""The settings of the interpreter that keep pauses short."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from agent.daemon.pauses import COLLECTED_AFTER, SWITCH_INTERVAL_S, shorten_pauses


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    thresholds, interval_s = gc.get_threshold(), sys.getswitchinterval()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(interval_s)


def test_a_thread_that_computes_lets_others_run_sooner() -> None:
    shorten_pauses()
    assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL_S)


def test_what_is_loaded_at_the_start_is_not_searched_for_garbage() -> None:
    shorten_pauses()
    assert gc.get_freeze_count() > 1000
    assert len(gc.get_objects()) < gc.get_freeze_count()


def test_a_reading_of_many_rows_starts_no_search_for_garbage() -> None:
    shorten_pauses()
    before = [generation["collections"] for generation in gc.get_stats()]
    for _ in range(5):
        assert len([[number] for number in range(COLLECTED_AFTER // 2)]) == COLLECTED_AFTER // 2
    assert [generation["collections"] for generation in gc.get_stats()] == before
