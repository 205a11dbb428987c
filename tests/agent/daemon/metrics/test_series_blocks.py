"""Blocks of series: only those are made again whose values changed."""

from __future__ import annotations

import math

import pytest

from agent.daemon.metrics.declarations import METRICS
from agent.daemon.metrics.series_blocks import BLOCK_LENGTH, blocks_of, value_text
from agent.daemon.metrics.snapshot_samples import Samples

METRIC = METRICS["learnd_eval_score"]
NUM_BLOCKS = 4


def samples_of(num_families: int) -> dict[tuple[str, ...], float]:
    return {(f"family-{number}",): number / 7 for number in range(num_families)}


def text_of(samples: Samples) -> bytes:
    return "".join(f'learnd_eval_score{{family="{family}"}} {value}\n' for (family,), value in samples.items()).encode()


@pytest.mark.parametrize(("value", "text"), [(math.nan, "NaN"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (0.1, "0.1")])
def test_a_value_is_written_as_the_format_has_it(value: float, text: str) -> None:
    assert value_text(value) == text


@pytest.mark.parametrize("num_families", [0, 1, BLOCK_LENGTH, BLOCK_LENGTH + 1])
def test_the_blocks_have_a_line_for_each_series(num_families: int) -> None:
    samples = samples_of(num_families)
    assert b"".join(block.piece.text for block in blocks_of(METRIC, samples)) == text_of(samples)


@pytest.mark.parametrize("changed", range(NUM_BLOCKS))
def test_only_the_block_with_a_changed_value_is_made_again(changed: int) -> None:
    samples = samples_of(NUM_BLOCKS * BLOCK_LENGTH)
    before = blocks_of(METRIC, samples)
    samples["family-" + str(changed * BLOCK_LENGTH),] = 9.0
    after = blocks_of(METRIC, samples, before)
    assert [number for number in range(NUM_BLOCKS) if after[number] is not before[number]] == [changed]
    assert after[changed].names is before[changed].names
    assert b"".join(block.piece.text for block in after) == text_of(samples)


def test_a_value_that_is_not_a_number_is_no_change_by_itself() -> None:
    samples = {("a",): math.nan}
    before = blocks_of(METRIC, samples)
    assert blocks_of(METRIC, dict(samples), before) == before


@pytest.mark.parametrize("index", [0, BLOCK_LENGTH, 3 * BLOCK_LENGTH - 1])
def test_series_that_come_and_go_leave_the_others(index: int) -> None:
    samples = samples_of(3 * BLOCK_LENGTH)
    before = blocks_of(METRIC, samples)
    fewer = {labels: value for number, (labels, value) in enumerate(samples.items()) if number != index}
    after = blocks_of(METRIC, fewer, before)
    assert b"".join(block.piece.text for block in after) == text_of(fewer)
    assert b"".join(block.piece.text for block in blocks_of(METRIC, samples, after)) == text_of(samples)
