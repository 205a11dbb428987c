"""The samples of a scrape of /metrics, for tests that poll them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""Values by the name of the sample and its labels, in the order of their names."""


def samples_of(text: str, name: str = "") -> Samples:
    """Return the samples of a scrape whose names begin with ``name``.

    Parsing takes longer than serving, so tests that poll one metric leave out the lines of all others.
    """
    if name:
        text = "".join(line for line in text.splitlines(keepends=True) if line.startswith(name))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
