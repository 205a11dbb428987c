"""The text of a scrape: made and compressed once for each snapshot, before a scraper asks.

A snapshot with 1,000 families has more than 20,000 series. The thread that reads the store makes their text again where
values changed. A scrape adds the values that the daemon knows without the store, which are few, at most once in
``MAX_AGE_S``, however many scrapers ask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache, cached_property

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder, generate_latest

from agent.daemon.http.content_coding import accepts_gzip
from agent.daemon.metrics.declarations import METRICS
from agent.daemon.metrics.gzip_pieces import Beginning, Piece, joined
from agent.daemon.metrics.live_samples import Readings, live_samples
from agent.daemon.metrics.series_blocks import SeriesBlock, blocks_of, header_of, lines_of, series_name
from agent.daemon.metrics.snapshot_samples import snapshot_samples
from agent.daemon.store.snapshot import Snapshot

MAX_AGE_S = 1.0
"""Age up to which readings are shown again. Prometheus scrapes every few seconds at most."""

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
class _Stored:
    """The part of the text that follows from a snapshot.

    Attributes:
        blocks: the blocks of each metric that has series.
        beginnings: their text by format; True for OpenMetrics.
    """

    blocks: Mapping[str, list[SeriesBlock]] = field(default_factory=dict)
    beginnings: dict[bool, Beginning] = field(default_factory=dict)

    def beginning(self, *, is_open_metrics: bool) -> Beginning:
        """Return the text in a format, which is made once."""
        if is_open_metrics not in self.beginnings:
            pieces = [
                piece
                for name in METRICS
                if (blocks := self.blocks.get(name))
                for piece in (_header(name, is_open_metrics=is_open_metrics), *(block.piece for block in blocks))
            ]
            self.beginnings[is_open_metrics] = joined(pieces)
        return self.beginnings[is_open_metrics]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Whole:
    """A whole text, with the time at which its readings were taken."""

    made_at: float
    beginning: Beginning
    end: bytes

    @cached_property
    def text(self) -> bytes:
        """The text."""
        return self.beginning.text + self.end

    @cached_property
    def zipped(self) -> bytes:
        """The text in gzip."""
        return self.beginning.zipped(self.end)


class MetricsText:
    """The text of all metrics, in the formats that Prometheus asks for.

    Args:
        readings: returns the daemon's present values.
        monotonic: the clock that tells how old a text is, in seconds.
    """

    def __init__(self, *, readings: Callable[[], Readings], monotonic: Callable[[], float]) -> None:
        self._readings = readings
        self._monotonic = monotonic
        self._blocks: Mapping[str, list[SeriesBlock]] = {}
        self._stored: Future[_Stored] = Future()
        self._stored.set_result(_Stored())
        self._kept: dict[bool, _Whole] = {}
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)

    def take(self, snapshot: Snapshot) -> None:
        """Make the text of a new snapshot, in the formats that were asked for. Any one thread may call this.

        If this fails, so do the following answers: what else that thread does with the snapshot goes on.
        """
        stored: Future[_Stored] = Future()
        try:
            stored.set_result(self._stored_of(snapshot))
        except Exception as error:  # noqa: BLE001 -- raised in answer()
            stored.set_exception(error)
        self._stored = stored

    def _stored_of(self, snapshot: Snapshot) -> _Stored:
        samples = snapshot_samples(snapshot)
        self._blocks = {name: blocks_of(METRICS[name], samples[name], self._blocks.get(name, ())) for name in samples}
        stored = _Stored(blocks=self._blocks)
        for is_open_metrics in tuple(self._kept):
            stored.beginning(is_open_metrics=is_open_metrics)
        return stored

    def answer(self, *, accept: str = "", accept_encoding: str = "") -> Exposition:
        """Return the answer to a scrape with these request headers."""
        content_type = choose_encoder(accept)[1]
        whole = self._newest(is_open_metrics=content_type.startswith(OPEN_METRICS))
        headers = {"content-type": content_type, "vary": "Accept, Accept-Encoding"}
        if not accepts_gzip(accept_encoding):
            return Exposition(body=whole.text, headers=headers)
        return Exposition(body=whole.zipped, headers={**headers, "content-encoding": "gzip"})

    def _newest(self, *, is_open_metrics: bool) -> _Whole:
        now, beginning = self._monotonic(), self._stored.result().beginning(is_open_metrics=is_open_metrics)
        kept = self._kept.get(is_open_metrics)
        if kept is None or kept.beginning is not beginning or now - kept.made_at >= MAX_AGE_S:
            kept = _Whole(made_at=now, beginning=beginning, end=self._end(is_open_metrics=is_open_metrics))
            self._kept[is_open_metrics] = kept
        return kept

    def _end(self, *, is_open_metrics: bool) -> bytes:
        """Return the part of the text that does not follow from the store."""
        samples = live_samples(self._readings())
        parts = [
            part
            for name, metric in METRICS.items()
            if (values := samples.get(name))
            for part in (
                header_of(metric, is_open_metrics=is_open_metrics),
                lines_of([series_name(metric, labels) for labels in values], values.values()),
            )
        ]
        own = generate_latest(self._process).decode()
        end = "# EOF\n" if is_open_metrics else ""
        return ("".join(parts) + (_as_open_metrics(own) if is_open_metrics else own) + end).encode()


@cache
def _header(name: str, *, is_open_metrics: bool) -> Piece:
    """Return the lines before the series of a metric of that name."""
    return Piece(header_of(METRICS[name], is_open_metrics=is_open_metrics).encode())


def _as_open_metrics(text: str) -> str:
    """Return the text of the process's own metrics with the names of counters as OpenMetrics has them."""
    lines = []
    for line in text.splitlines(keepends=True):
        words = line.split(" ", 3)
        if words[0] == "#" and words[2].rstrip().endswith("_total"):
            words[2] = words[2].removesuffix("_total")
        lines.append(" ".join(words))
    return "".join(lines)
