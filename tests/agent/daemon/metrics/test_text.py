"""The text of a scrape: both formats are read back by Prometheus' own parsers, and work is done once for many."""

from __future__ import annotations

import dataclasses
import gzip
import math
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from agent.daemon.metrics.declarations import METRICS
from agent.daemon.metrics.live_samples import Readings
from agent.daemon.metrics.series_blocks import BLOCK_LENGTH, header_of, series_name, value_text
from agent.daemon.metrics.snapshot_samples import snapshot_samples
from agent.daemon.metrics.text import MAX_AGE_S, MetricsText
from agent.daemon.store.snapshot import Snapshot, read_snapshot
from memory.folder import DataFolder
from memory.records import CounterValue, CurveMetric, CurvePoint, FamilyState
from memory.store import Store
from tests.agent.daemon.clocks import FakeClock
from tests.agent.daemon.exposition import READINGS, metrics_text, new_text
from tests.memory.making import make_spec

OPEN_METRICS = "application/openmetrics-text;version=1.0.0"


def add_families(store: Store, names: Iterable[str]) -> None:
    """Add families with a score, in one transaction."""
    with store._connection.transaction("adding families"):
        for name in names:
            store.families.add(make_spec(name))
            store.families.admit(name, spaces={}, random_return=0.0, reference_return=1.0)
            score(store, name, 1 / 3)


def score(store: Store, family: str, value: float, *, label: str = "") -> None:
    """Record a score; with a label, a part of the loss."""
    metric = CurveMetric.LOSS if label else CurveMetric.EVAL_SCORE
    store.curves.commit_evaluation(family, [CurvePoint(metric=metric, label=label, value=value)])


def snapshot_of(path: Path, *names: str) -> Snapshot:
    with Store.open(DataFolder(path)) as store:
        add_families(store, names)
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


def test_many_scrapes_within_a_second_take_readings_once_and_later_ones_show_what_is_new() -> None:
    readings = [READINGS]
    asked: list[int] = []

    def read() -> Readings:
        asked.append(1)
        return readings[0]

    clock = FakeClock()
    text = MetricsText(readings=read, monotonic=clock.monotonic)
    bodies = {text.answer().body for _ in range(20)}
    assert (len(bodies), len(asked)) == (1, 1)
    readings[0] = dataclasses.replace(READINGS, backup_age_s=61.0)
    clock.advance(MAX_AGE_S)
    assert "learnd_backup_age_seconds 61.0" in text.answer().body.decode()


def test_a_new_snapshot_is_shown_at_once_with_new_readings(tmp_path: Path) -> None:
    readings = [READINGS]
    text = MetricsText(readings=lambda: readings[0], monotonic=lambda: 0.0)
    text.take(snapshot_of(tmp_path / "one", "bandits"))
    text.answer()
    readings[0] = dataclasses.replace(READINGS, snapshot_age_s=0.25)
    text.take(snapshot_of(tmp_path / "two", "mdps"))
    body = text.answer().body.decode()
    assert 'learnd_env_steps_total{family="mdps"}' in body
    assert 'family="bandits"' not in body
    assert "learnd_snapshot_age_seconds 0.25" in body


def test_a_snapshot_without_a_text_fails_the_scrapes_until_the_next_one(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path, "bandits")
    text = new_text(snapshot)
    unreadable = CounterValue("job_runs", {"unknown label": "x"}, 1.0)
    text.take(dataclasses.replace(snapshot, counters=(unreadable,)))
    with pytest.raises(KeyError):
        text.answer()
    text.take(snapshot)
    assert b"learnd_eval_score" in text.answer().body


def rendered_directly(snapshot: Snapshot, *, is_open_metrics: bool) -> str:
    """Return the lines of a snapshot, one after another, without anything that was kept."""
    lines = []
    for name, samples in snapshot_samples(snapshot).items():
        metric = METRICS[name]
        if samples:
            lines.append((list(METRICS).index(name), header_of(metric, is_open_metrics=is_open_metrics)))
        for labels, value in samples.items():
            lines.append((list(METRICS).index(name), f"{series_name(metric, labels)} {value_text(value)}\n"))
    return "".join(line for _, line in sorted(lines, key=lambda pair: pair[0]))


def test_what_is_served_after_any_changes_equals_a_direct_rendering(tmp_path: Path) -> None:
    with Store.open(DataFolder(tmp_path)) as store, Store.open(DataFolder(tmp_path), is_reader=True) as reader:
        add_families(store, (f"family-{number:03}" for number in range(BLOCK_LENGTH + 30)))
        snapshot = None
        text = MetricsText(readings=lambda: READINGS, monotonic=lambda: 0.0)
        changes = (
            lambda: None,
            lambda: score(store, "family-000", 0.25, label="value"),
            lambda: score(store, f"family-{BLOCK_LENGTH:03}", math.nan, label="entropy"),
            lambda: store.families.set_state("family-003", FamilyState.REMOVED),
            lambda: add_families(store, ["new"]),
            lambda: store.families.record_strike("family-004", reason="hung", detail=""),
            lambda: store.counters.add("practice_seconds", {"family": "family-005"}, 1.5),
            lambda: score(store, "new", -math.inf, label='a"b\\c'),
        )
        for change in changes:
            change()
            snapshot = read_snapshot(reader, snapshot)
            text.take(snapshot)
            for accept in ("", OPEN_METRICS):
                plain, zipped = text.answer(accept=accept), text.answer(accept=accept, accept_encoding="gzip")
                assert gzip.decompress(zipped.body) == plain.body
                direct = rendered_directly(snapshot, is_open_metrics=bool(accept))
                assert plain.body.decode().startswith(direct)
                fresh = rendered_directly(read_snapshot(reader, None), is_open_metrics=bool(accept))
                assert sorted(direct.splitlines()) == sorted(fresh.splitlines())


def test_a_scrape_takes_the_same_steps_for_few_and_many_families(tmp_path: Path) -> None:
    def num_calls(num_families: int) -> int:
        with Store.open(DataFolder(tmp_path / str(num_families))) as store:
            add_families(store, (f"family-{number:03}" for number in range(num_families)))
            text = new_text(read_snapshot(store, None))
            text.answer(accept=OPEN_METRICS, accept_encoding="gzip")
            score(store, "family-000", 0.75)
            text.take(read_snapshot(store, None))
        calls: list[str] = []
        before = sys.getprofile()
        sys.setprofile(lambda frame, event, _: calls.append(frame.f_code.co_qualname) if event == "call" else None)
        try:
            text.answer(accept=OPEN_METRICS, accept_encoding="gzip")
        finally:
            sys.setprofile(before)
        return len(calls)

    assert num_calls(3) == num_calls(200) > 0


def test_a_scraper_that_accepts_gzip_gets_the_same_text_compressed(tmp_path: Path) -> None:
    text = new_text(snapshot_of(tmp_path, "bandits"))
    zipped = text.answer(accept_encoding="gzip")
    assert zipped.headers["content-encoding"] == "gzip"
    assert gzip.decompress(zipped.body) == text.answer().body
    assert "content-encoding" not in text.answer().headers
