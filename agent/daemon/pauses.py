"""Settings of the interpreter that keep the daemon's pauses short: garbage collection and the change of threads."""

from __future__ import annotations

import gc
import sys

SWITCH_INTERVAL_S = 0.0005
"""Time after which a thread that computes lets another one run.

An answer to a request needs the interpreter several times, each time that it has read or written a part. While another
thread reads the store, it waits this long each time; Python's default is 5 ms.
"""

COLLECTED_AFTER = 20_000
"""Number of objects, made and not yet freed, after which the youngest are searched for cycles; Python's default is 700.

With 1,000 families a reading of the store makes many times 700 objects and frees them without help. At the default it
starts so many searches that every few seconds one follows in all objects, which stops all threads for 80 ms and more.
"""


def shorten_pauses() -> None:
    """Change threads sooner, search for garbage more rarely, and never in the modules that are loaded by now."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(COLLECTED_AFTER, *gc.get_threshold()[1:])
    gc.freeze()
