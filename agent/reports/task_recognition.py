"""Recognition of tasks within a family: whether a trial's task was met before, with a calibrated probability."""

from __future__ import annotations

from dataclasses import dataclass

from envs.kinds import FamilyKind
from envs.spaces import SpacePair
from memory.records import ContextKey, Family, StoredContextKey, StoredTrial
from memory.retrieval.calibration import (
    CalibrationTest,
    PastMatches,
    calibrate,
    match_with_the_past,
)
from memory.retrieval.encoding import EMBEDDING_WIDTH, NUM_STEPS, TaskEncoder, fit_encoder
from memory.retrieval.identity import task_identity
from memory.retrieval.key_upkeep import KeyUpkeep, coarse_trial, keys_of
from memory.store import Store

FEWEST_TRIALS = 16
MOST_TRIALS = 512
_NUM_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class RecognisedTrial:
    """A trial with what the memory says of its task.

    Attributes:
        trial_id: the trial.
        probability: the probability that its task was met before.
        match: the trial before it that matches best; None if there is none.
        is_exact: whether what identified the task is equal for both.
    """

    trial_id: int
    probability: float
    match: int | None
    is_exact: bool


@dataclass(frozen=True, kw_only=True)
class TaskRecognition:
    """The measured recognition of a family's tasks.

    Attributes:
        num_trials: number of trials that were matched, each with those before it.
        num_repeated: number of trials whose task an earlier one of them has.
        at_start: a test of the probabilities at the start of a trial, by the digest alone.
        after_steps: a test of the probabilities after the first steps of a trial.
        num_steps: the number of those first steps.
        newest: the newest trials, newest first, after their first steps.
    """

    num_trials: int
    num_repeated: int
    at_start: CalibrationTest
    after_steps: CalibrationTest
    num_steps: int
    newest: tuple[RecognisedTrial, ...]


def recognise_tasks(store: Store, name: str) -> TaskRecognition | None:
    """Measure on a family's newest trials how well tasks are recognised.

    Returns:
        The recognition; None for a few-shot family, or if the family has fewer than ``FEWEST_TRIALS`` trials.

    Raises:
        FamilyNotFoundError: there is no family of that name.
        CorruptFileError: a trial is damaged.
    """
    family = store.families.get(name)
    rows = store.trials.of_family(name, limit=MOST_TRIALS)[::-1]
    if family.spaces is None or family.kind is not FamilyKind.ENVIRONMENTS or len(rows) < FEWEST_TRIALS:
        return None
    keys = _keys(store, family, rows)
    tasks = [task_identity(name, row.task, stored.key.digest) for row, stored in zip(rows, keys, strict=True)]
    start = match_with_the_past(keys, tasks, width=EMBEDDING_WIDTH, with_embeddings=False)
    after = match_with_the_past(keys, tasks, width=EMBEDDING_WIDTH)
    _, at_start = calibrate(start)
    calibration, after_steps = calibrate(after)
    return TaskRecognition(
        num_trials=len(rows),
        num_repeated=len(tasks) - len(set(tasks)),
        at_start=at_start,
        after_steps=after_steps,
        num_steps=NUM_STEPS,
        newest=tuple(
            _recognised(after, row, calibration.probability(after.matches[row]))
            for row in range(len(rows) - 1, max(len(rows) - 1 - _NUM_SHOWN, -1), -1)
        ),
    )


def _recognised(past: PastMatches, row: int, probability: float) -> RecognisedTrial:
    matches = past.matches[row]
    has_match = len(matches.trial_ids) > 0
    return RecognisedTrial(
        trial_id=past.trial_ids[row],
        probability=probability,
        match=int(matches.trial_ids[0]) if has_match else None,
        is_exact=matches.is_exact,
    )


def _keys(store: Store, family: Family, rows: list[StoredTrial]) -> list[StoredContextKey]:
    """Return the keys of trials, with embeddings of one generation. Those that the store lacks are computed."""
    encoder = KeyUpkeep.of(store).encoder(family) or _fitted(store, family, rows)
    keys = {row.id: store.contexts.get(row.id) for row in rows}
    present = {i: key for i, key in keys.items() if key is not None and key.generation == encoder.generation}
    missing = {row.id: coarse_trial(store.trials.load(row.id), encoder.spaces) for row in rows if row.id not in present}
    computed: dict[int, ContextKey] = keys_of(encoder, missing) if missing else {}
    return [StoredContextKey(trial_id=row.id, key=(present | computed)[row.id]) for row in rows]


def _fitted(store: Store, family: Family, rows: list[StoredTrial]) -> TaskEncoder:
    """Return an encoder for a store that has none yet. Its generation is one that no key has."""
    spaces = SpacePair.from_json(family.spaces or {})
    trials = [coarse_trial(store.trials.load(row.id), spaces) for row in rows]
    return TaskEncoder(spaces, fit_encoder(spaces, trials), generation=-1)
