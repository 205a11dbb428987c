"""The text of a scrape: both formats are read back by Prometheus' own parsers, and work is done once for many."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from agent.daemon.metrics.declarations import METRICS
from agent.daemon.metrics.text import MAX_AGE_S, MetricsText, value_text
from agent.daemon.store.snapshot import Snapshot, read_snapshot
from memory.folder import DataFolder
from memory.records import CurveMetric, CurvePoint
from memory.store import Store
from tests.agent.daemon.clocks import FakeClock
from tests.agent.daemon.exposition import READINGS, metrics_text, new_text
from tests.memory.making import make_spec

OPEN_METRICS = "application/openmetrics-text;version=1.0.0"


def snapshot_of(path: Path, *names: str) -> Snapshot:
    with Store.open(DataFolder(path)) as store:
        for name in names:
            store.families.add(make_spec(name))
            store.families.admit(name, spaces={}, random_return=0.0, reference_return=1.0)
            store.curves.commit_evaluation(name, [CurvePoint(metric=CurveMetric.EVAL_SCORE, value=1 / 3)])
        return read_snapshot(store, None)


def test_both_formats_hold_the_same_samples(tmp_path: Path) -> None:
    text = new_text(snapshot_of(tmp_path, "bandits", "mdps"))
    plain, opened = text.answer(), text.answer(accept=OPEN_METRICS)
    assert plain.headers["content-type"].startswith("text/plain")
    assert opened.headers["content-type"].startswith("application/openmetrics-text")
    read = [
        {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in parse(answer.body.decode())
            for sample in family.samples
            if not sample.name.startswith("process_")
        }
        for parse, answer in ((parse_text, plain), (parse_open_metrics, opened))
    ]
    assert read[0] == read[1]
    assert read[0]["learnd_eval_score", (("family", "mdps"),)] == 1 / 3


def test_kind_unit_and_help_of_the_declaration_are_exposed(tmp_path: Path) -> None:
    opened = new_text(snapshot_of(tmp_path, "bandits")).answer(accept=OPEN_METRICS).body.decode()
    families = {family.name: family for family in parse_open_metrics(opened)}
    for name, metric in METRICS.items():
        if (family := families.get(name.removesuffix("_total"))) is not None:
            assert (family.type, family.documentation) == (metric.kind, metric.help)
    assert families["learnd_wal_size_bytes"].unit == "bytes"
    assert families["learnd_practice_seconds"].unit == "seconds"


def test_hostile_label_values_are_read_back_unchanged() -> None:
    name = 'a"b\\c\nd'
    families = list(parse_text(metrics_text(None, limits_bytes={name: 1.0})))
    limits = next(family for family in families if family.name == "learnd_limit_bytes")
    assert limits.samples[0].labels == {"setting": name}


@pytest.mark.parametrize(("value", "text"), [(math.nan, "NaN"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (0.1, "0.1")])
def test_a_value_is_written_as_the_format_has_it(value: float, text: str) -> None:
    assert value_text(value) == text


def test_many_scrapes_within_a_second_render_once_and_later_ones_show_what_is_new(tmp_path: Path) -> None:
    snapshots = [snapshot_of(tmp_path / "one", "bandits"), snapshot_of(tmp_path / "two", "mdps")]
    asked: list[int] = []

    def snapshot() -> Snapshot:
        asked.append(1)
        return snapshots[0]

    clock = FakeClock()
    text = MetricsText(snapshot=snapshot, readings=lambda: READINGS, monotonic=clock.monotonic)
    bodies = {text.answer().body for _ in range(20)}
    assert (len(bodies), len(asked)) == (1, 1)
    snapshots[0] = snapshots[1]
    clock.advance(MAX_AGE_S)
    body = text.answer().body.decode()
    assert 'learnd_env_steps_total{family="mdps"}' in body
    assert 'family="bandits"' not in body


def test_a_scraper_that_accepts_gzip_gets_the_same_text_compressed(tmp_path: Path) -> None:
    text = new_text(snapshot_of(tmp_path, "bandits"))
    zipped = text.answer(accept_encoding="gzip")
    assert zipped.headers["content-encoding"] == "gzip"
    assert gzip.decompress(zipped.body) == text.answer().body
    assert "content-encoding" not in text.answer().headers
