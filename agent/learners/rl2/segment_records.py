"""The records of trials that are played in segments, as the episodic memory stores them: their first pieces.

A first piece begins with an empty hidden state and an empty in-trial memory, so it can be replayed by itself. It has at
most ``segment_steps`` steps. If the episode goes on after it, the record ends like a truncated episode. Later pieces
are not stored.

Shapes: L steps of the longest piece, P pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from agent.learners.rl2.segment import Segment
from agent.learners.rl2.trials import TrialBatch, to_records
from memory.records import TrialRecord


def piece_records(
    trials: TrialBatch,
    segment: Segment,
    *,
    rows: Sequence[int],
    tasks: Sequence[dict[str, Any]],
    slots: Sequence[int],
    contexts: Sequence[bytes | None],
) -> list[TrialRecord]:
    """Convert the first pieces of trials to the records that the episodic memory stores.

    Trials of several episodes take no slot of the rehearsal reservoir: a replay would tell the policy that the trial
    has only the episodes of the piece.

    Args:
        trials: the pieces.
        segment: the further data of their segment.
        rows: indices of the pieces to convert, which begin their trials.
        tasks: see :func:`agent.learners.rl2.trials.to_records`.
        slots: see there.
        contexts: see there.
    """
    end, order = torch.cat([trials.end, segment.open_end]).sort()
    final_observation = torch.cat([trials.final_observation, segment.open_observation])[order]
    is_replayable = trials.episodes_per_trial == 1
    return to_records(
        replace(trials, end=end, final_observation=final_observation),
        rows=rows,
        tasks=tasks,
        decisions=trials.decisions if is_replayable else None,
        slots=slots if is_replayable else None,
        contexts=contexts,
    )
