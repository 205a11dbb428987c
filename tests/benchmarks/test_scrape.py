"""The benchmark of scrapes compares training with scrapes and without them."""

from __future__ import annotations

import pytest

from benchmarks.scrape import Window, compared

WINDOW_S = 10.0
IS_SCRAPED = (False, True, True, False)


def block_of(began: float) -> list[Window]:
    """Return four windows with gaps of a second, in which the trainer uses half of a core."""
    return [
        Window(
            is_scraped=is_on,
            began=(at := began + number * (WINDOW_S + 1)),
            ended=at + WINDOW_S,
            num_scrapes=200 * is_on,
            daemon_cpu_s=0.3 if is_on else 0.1,
            trainer_cpu_s=5.0,
        )
        for number, is_on in enumerate(IS_SCRAPED)
    ]


def test_the_loss_by_scrapes_is_found_below_a_steady_drift() -> None:
    blocks = [block_of(0.0), block_of(44.0)]
    updates, done = [(0.0, 0.0)], 0.0
    for number, found in enumerate(window for block in blocks for window in block):
        done += (100.0 + number) * WINDOW_S * (0.9 if found.is_scraped else 1.0)
        updates += [(found.began, updates[-1][1]), (found.ended, done)]
    result = compared(blocks, [(at, round(count)) for at, count in updates])
    training = result["training"]
    assert training["slowed_by"]["mean"] == pytest.approx(0.1, abs=1e-3)
    assert training["slowed_by_per_trainer_cpu_s"]["mean"] == pytest.approx(0.1, abs=1e-3)
    assert training["slowed_by"]["standard_error"] < 1e-3
    assert training["with_scrapes"]["scrapes_per_s"] == 20.0
    assert result["daemon_cpu_ms_per_scrape"] == pytest.approx(1.0)
