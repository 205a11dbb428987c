"""Text that a broken or hostile environment may raise, and the characters of it that must never reach a terminal."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np

from agent.output.visible_text import ESCAPED_CATEGORIES
from memory.folder import DataFolder
from memory.records import CurveMetric, CurvePoint, FamilyState, JobKind, JobOutcome
from memory.store import Store
from tests.agent.cli.filled_store import STORY, fill

MARKUP = "closed [/red] and [bold]opened [link=file:///etc/passwd]here :smile: $x^2$"
CODES = "\x1b[2J\x1b]0;title\x07 \x9b31m \rcarriage \x08\x7f \u202egnp.exe\u2069 \u200bzero \ufeff \udc80"
FORGED = "\n✓ store: every row is whole"
HOSTILE = f"{MARKUP} {CODES} größer → ✓{FORGED}"


def hidden_characters(text: str) -> set[str]:
    """Return the characters of a text that control a terminal or are invisible."""
    return {character for character in text if unicodedata.category(character) in ESCAPED_CATEGORIES} - {"\n"}


def fill_with_hostile_text(path: Path) -> DataFolder:
    """Write a data folder with hostile text in every free text field of families, runs, curves and versions."""
    folder = fill(path, story=STORY[:4], rounds=10)
    with Store.open(folder) as store:
        store.families.set_state("bandits", FamilyState.REFUSED, reason=HOSTILE)
        store.families.set_state("mdps", FamilyState.PAUSED, reason=HOSTILE)
        store.families.set_state("cartpole", FamilyState.QUARANTINED, reason=HOSTILE, quarantined_until=2e9)
        store.families.record_strike("acrobot", reason="raised", detail=HOSTILE)
        store.curves.commit_evaluation("acrobot", [CurvePoint(metric=CurveMetric.LENT_SCORE, label=HOSTILE, value=0.5)])
        for family in ("bandits", "mdps", "cartpole", "acrobot"):
            for _ in range(3):
                run = store.jobs.start(JobKind.PRACTISE, family=family, reason=HOSTILE)
                store.jobs.finish(run, JobOutcome.FAILED, error=HOSTILE)
        store.jobs.start(JobKind.EVALUATE, family=None, reason=HOSTILE)
        current = store.initializations.current()
        assert current is not None
        store.initializations.publish(
            {"w": np.zeros(8, np.float32)},
            metadata={"learner": "rl2"},
            scores=[],
            provenance={"learner": "rl2", "note": HOSTILE},
            reason=HOSTILE,
            parent=current.version,
        )
        store.daemon_status.set(
            {"pid": os.getpid(), "state": "running", "reasons": [HOSTILE], "device": HOSTILE, "listen": "127.0.0.1:1"}
        )
    return folder
