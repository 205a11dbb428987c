"""The text of a scrape: rendered from a snapshot and the daemon's readings, and kept between scrapes.

A snapshot with 1,000 families has more than 20,000 series. The text of a metric is made again only if its values
changed, and the whole text at most once in ``MAX_AGE_S``, however many scrapers ask.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder, generate_latest

from agent.daemon.http.content_coding import accepts_gzip
from agent.daemon.metrics.declarations import METRICS, Metric, MetricKind
from agent.daemon.metrics.live_samples import Readings, live_samples
from agent.daemon.metrics.snapshot_samples import Samples, snapshot_samples
from agent.daemon.store.snapshot import Snapshot

MAX_AGE_S = 1.0
"""Age up to which a text is served again. Prometheus scrapes every few seconds at most."""

GZIP_LEVEL = 1
OPEN_METRICS = "application/openmetrics-text"


@dataclass(frozen=True, kw_only=True)
class Exposition:
    """An answer to a scrape.

    Attributes:
        body: the content.
        headers: the headers that describe it.
    """

    body: bytes
    headers: Mapping[str, str]


@dataclass(kw_only=True)
class _Kept:
    """The text of one format, and the time at which it was made."""

    made_at: float
    text: bytes
    zipped: bytes | None = None


@dataclass(kw_only=True)
class _Series:
    """The lines of one metric's series.

    Attributes:
        values: the values that ``lines`` shows.
        lines: the lines.
        names: the name with labels of each series, as it stands at the start of its line.
    """

    values: Samples = field(default_factory=dict)
    lines: str = ""
    names: dict[tuple[str, ...], str] = field(default_factory=dict)


class MetricsText:
    """The text of all metrics, in the formats that Prometheus asks for.

    Args:
        snapshot: returns the newest snapshot; None before the first.
        readings: returns the daemon's present values.
        monotonic: the clock that tells how old a text is, in seconds.
    """

    def __init__(
        self,
        *,
        snapshot: Callable[[], Snapshot | None],
        readings: Callable[[], Readings],
        monotonic: Callable[[], float],
    ) -> None:
        self._snapshot = snapshot
        self._readings = readings
        self._monotonic = monotonic
        self._rendered: Snapshot | None = None
        self._series = {name: _Series() for name in METRICS}
        self._kept: dict[bool, _Kept] = {}
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)

    def answer(self, *, accept: str = "", accept_encoding: str = "") -> Exposition:
        """Return the answer to a scrape with these request headers."""
        content_type = choose_encoder(accept)[1]
        kept = self._newest(is_open_metrics=content_type.startswith(OPEN_METRICS))
        headers = {"content-type": content_type, "vary": "Accept, Accept-Encoding"}
        if not accepts_gzip(accept_encoding):
            return Exposition(body=kept.text, headers=headers)
        if kept.zipped is None:
            kept.zipped = gzip.compress(kept.text, GZIP_LEVEL, mtime=0)
        return Exposition(body=kept.zipped, headers={**headers, "content-encoding": "gzip"})

    def _newest(self, *, is_open_metrics: bool) -> _Kept:
        now = self._monotonic()
        kept = self._kept.get(is_open_metrics)
        if kept is None or now - kept.made_at >= MAX_AGE_S:
            kept = _Kept(made_at=now, text=self._render(is_open_metrics=is_open_metrics))
            self._kept[is_open_metrics] = kept
        return kept

    def _render(self, *, is_open_metrics: bool) -> bytes:
        snapshot = self._snapshot()
        if snapshot is not None and snapshot is not self._rendered:
            self._take(snapshot_samples(snapshot))
            self._rendered = snapshot
        self._take(live_samples(self._readings()))
        parts = [
            part
            for name, metric in METRICS.items()
            if (lines := self._series[name].lines)
            for part in (header_of(metric, is_open_metrics=is_open_metrics), lines)
        ]
        own = generate_latest(self._process).decode()
        end = "# EOF\n" if is_open_metrics else ""
        return ("".join(parts) + (_as_open_metrics(own) if is_open_metrics else own) + end).encode()

    def _take(self, samples: Mapping[str, Samples]) -> None:
        """Make the lines of each metric whose values changed."""
        for name, values in samples.items():
            series = self._series[name]
            if values != series.values:
                self._series[name] = _series_of(METRICS[name], values, names=series.names)


def _series_of(metric: Metric, values: Samples, *, names: Mapping[tuple[str, ...], str]) -> _Series:
    """Return the lines of a metric; ``names`` has the names of series that are known."""
    known = {labels: names.get(labels) or series_name(metric, labels) for labels in values}
    lines = [f"{known[labels]} {value_text(value)}\n" for labels, value in values.items()]
    return _Series(values=values, lines="".join(lines), names=known)


def series_name(metric: Metric, values: Iterable[str]) -> str:
    """Return a series' name with its labels, as it stands in the text."""
    pairs = ",".join(f'{label}="{_escaped(value)}"' for label, value in zip(metric.labels, values, strict=True))
    return f"{metric.name}{{{pairs}}}" if pairs else metric.name


def _escaped(value: str) -> str:
    return str(value).replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def value_text(value: float) -> str:
    """Return a value as it stands in the text."""
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def header_of(metric: Metric, *, is_open_metrics: bool) -> str:
    """Return the lines before a metric's series. In OpenMetrics the name of a counter is without ``_total``."""
    name = metric.name
    if is_open_metrics and metric.kind is MetricKind.COUNTER:
        name = name.removesuffix("_total")
    unit = f"# UNIT {name} {metric.unit}\n" if is_open_metrics and name.endswith(f"_{metric.unit or '-'}") else ""
    return f"# HELP {name} {metric.help}\n# TYPE {name} {metric.kind}\n{unit}"


def _as_open_metrics(text: str) -> str:
    """Return the text of the process's own metrics with the names of counters as OpenMetrics has them."""
    lines = []
    for line in text.splitlines(keepends=True):
        words = line.split(" ", 3)
        if words[0] == "#" and words[2].rstrip().endswith("_total"):
            words[2] = words[2].removesuffix("_total")
        lines.append(" ".join(words))
    return "".join(lines)
