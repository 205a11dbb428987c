"""The content codings that a client of the HTTP server accepts."""

from __future__ import annotations


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether a request's header ``Accept-Encoding`` allows gzip."""
    for offer in accept_encoding.lower().split(","):
        coding, _, weight = offer.replace(" ", "").partition(";q=")
        if coding in {"gzip", "*"}:
            try:
                return not weight or float(weight) > 0
            except ValueError:
                return False
    return False
