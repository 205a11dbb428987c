"""Plays in the background: rollouts, evaluations and admissions that step a family's environment in a worker.

A play of a family runs in a thread of the trainer, which mostly waits for the worker. The trainer waits for the play
for a limited time. If it takes longer, the trainer goes on with other families, and the job ends with
:class:`UnderWayError`. The next job of the family takes the result.

The results do not depend on when they are taken. A play gets everything at its start: a copy of the policy, a generator
of its own, and its tasks. A family has one play at a time, and only that play uses the family's open tasks.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import structlog

log = structlog.get_logger(__name__)

T = TypeVar("T")

CHECK_S = 0.1
"""Seconds between two beats of the heartbeat while the trainer waits for a play."""

USUAL_FACTOR = 3.0
"""The trainer waits this many times as long as the last play of the same kind took, within its patience."""

SHORTEST_SHARE = 1.0 / 12.0
"""The trainer waits at least this share of its patience for a play that is usually quicker."""

WAITING_S = 60.0
"""Seconds for which a family keeps its turn to be played in the background although it is not asked for."""

STOP_S = 3.0
"""Seconds in which plays must end when the trainer stops; the supervisors of their workers end the rest."""


class UnderWayError(Exception):
    """A play of a family takes longer than the trainer waits for it; it goes on in the background."""


class PlayStoppedError(Exception):
    """The play's result is not wanted any more."""


@dataclass(kw_only=True)
class _Play:
    """A play that has begun.

    Attributes:
        what: kind of the play.
        token: what distinguishes it from other plays of its kind.
        began: reading of the monotonic clock.
        has_ended: set after the result or the error.
        is_seen: whether a job was given its result or its error.
        is_stopped: whether its result is not wanted any more.
        at_end: called in the play's thread when it has ended after a stop.
    """

    what: str
    token: Hashable
    began: float
    has_ended: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: BaseException | None = None
    took_s: float = 0.0
    is_seen: bool = False
    is_stopped: bool = False
    at_end: list[Callable[[], None]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Wait:
    """A wait of the trainer for a play.

    Attributes:
        until: reading of the monotonic clock; infinity for no limit.
        is_idle: whether it waits because there is nothing else to do, so that a result of another family ends the wait.
    """

    until: float
    is_idle: bool = False


class BackgroundPlays:
    """The plays of all families.

    Args:
        patience_s: seconds that the trainer waits for a play.
        most_at_once: places: plays that may be under way before further ones of slow families must wait. They begin in
            the order in which they came to wait.
        on_wait: called repeatedly while the trainer waits; it may raise to end the waiting.
        may_overlap: whether a play may go on while the trainer does something else; otherwise it waits without limit.
        has_others: returns whether the trainer could do something else than wait for a family with this id.
        monotonic: the clock, in seconds.
    """

    def __init__(
        self,
        *,
        patience_s: float,
        most_at_once: int,
        on_wait: Callable[[], None],
        may_overlap: bool = True,
        has_others: Callable[[int], bool] = lambda _family_id: True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patience_s = patience_s
        self._most_at_once = most_at_once
        self._on_wait = on_wait
        self._may_overlap = may_overlap
        self._has_others = has_others
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._of_this_thread = threading.local()
        self._current: dict[int, _Play] = {}
        self._ended: dict[tuple[int, str], _Play] = {}
        self._took_s: dict[tuple[int, str], float] = {}
        self._waiting: dict[int, float] = {}
        """The families that wait for a place, in their order, with the time at which they were last asked for."""
        self.num_changes = 0
        """Plays that have begun and results that were filed, so far: it shows whether a job did any of the two."""

    def check(self) -> None:
        """Check whether the waiting for a worker may go on, in a play or in the trainer's own thread.

        Raises:
            PlayStoppedError: the play's result is not wanted any more.
            Exception: what ``on_wait`` raises in the trainer's own thread.
        """
        play: _Play | None = getattr(self._of_this_thread, "play", None)
        if play is None:
            self._on_wait()
        elif play.is_stopped:
            raise PlayStoppedError

    @property
    def is_in_play(self) -> bool:
        """Return whether this is the thread of a play."""
        return getattr(self._of_this_thread, "play", None) is not None

    def under_way(self) -> set[int]:
        """Return the ids of the families that have a play under way."""
        return {family_id for family_id, play in self._current.items() if not play.has_ended.is_set()}

    def kind_under_way(self, family_id: int) -> str | None:
        """Return the kind of the family's play that is under way; None if it has none."""
        play = self._current.get(family_id)
        return None if play is None or play.has_ended.is_set() else play.what

    def has_ended(self, family_id: int, what: str) -> bool:
        """Return whether a play of this kind has ended whose result was not forgotten."""
        self._file_ended(family_id)
        return (family_id, what) in self._ended

    def have_results(self) -> set[int]:
        """Return the ids of the families whose plays have ended, with results that no job has seen."""
        in_current = {
            family_id for family_id, play in self._current.items() if play.has_ended.is_set() and not play.is_stopped
        }
        return in_current | {family_id for (family_id, _what), play in self._ended.items() if not play.is_seen}

    def have_places(self) -> set[int]:
        """Return the ids of the families that waited for a place and have one now."""
        free = self._most_at_once - len(self.under_way())
        return set(self._in_turn()[: max(0, free)])

    def has_use_for(self, family_id: int, what: str) -> bool:
        """Return whether the trainer has something to do for a family now, without waiting for its worker for long.

        Args:
            family_id: the family.
            what: kind of the play that the trainer would begin.
        """
        present = self._current.get(family_id)
        if present is not None:
            return present.has_ended.is_set()
        return not self.is_slow(family_id, what) or any(known == family_id for known, _what in self._ended)

    def is_slow(self, family_id: int, what: str) -> bool:
        """Return whether the last play of this kind took longer than the trainer waits."""
        return self._took_s.get((family_id, what), 0.0) > self._patience_s

    def run(
        self,
        family_id: int,
        what: str,
        prepare: Callable[[], Callable[[], T]],
        *,
        token: Hashable = None,
        is_patient: bool | None = None,
    ) -> T:
        """Return the result of a play. Begin it if it has not begun; keep its result until it is forgotten.

        Args:
            family_id: the family.
            what: kind of the play, in a word.
            prepare: called in the trainer's own thread if the play begins; it returns the function that plays, which
                uses nothing that the trainer changes meanwhile.
            token: distinguishes plays of one kind; a result with another token is dropped.
            is_patient: True waits without limit. None waits for a few times the usual time of such a play, unless it is
                known to take longer than the patience. False does not wait. If there is nothing else to do, the trainer
                waits for its patience in any case, or until another family has a result.

        Raises:
            UnderWayError: the play, or another one of the family, is still under way, or the play was stopped.
            Exception: what the play raised, or another play of the family that has ended since its last job.
        """
        self._file_ended(family_id)
        self._raise_fault(family_id)
        if (ended := self._result_of(family_id, what, token)) is not None:
            return cast("T", self._outcome(family_id, what, ended))
        wait = self._wait_for(family_id, what, is_patient=is_patient)
        present = self._current.get(family_id)
        if present is not None and (present.is_stopped or (present.what, present.token) != (what, token)):
            self._await(present, wait)
            self._file_ended(family_id)
            self._raise_fault(family_id)
            present = None
        if present is None:
            self._require_place(family_id, wait)
            present = self._begin(family_id, what, prepare(), token)
        self._await(present, wait)
        self._file_ended(family_id)
        if present.is_stopped:
            raise UnderWayError(f"{what} was stopped")
        return cast("T", self._outcome(family_id, what, present))

    def begin(
        self, family_id: int, what: str, prepare: Callable[[], Callable[[], Any]], *, token: Hashable = None
    ) -> None:
        """Begin a play whose result is taken later; do nothing if the family has one, or if it has to wait."""
        self._file_ended(family_id)
        if family_id not in self._current and self._may_overlap and self._has_place(family_id):
            self._begin(family_id, what, prepare(), token)

    def forget(self, family_id: int, *kinds: str) -> None:
        """Forget the results of plays of these kinds."""
        for what in kinds:
            self._ended.pop((family_id, what), None)

    def stop(self, family_id: int, *, then: Callable[[], None]) -> None:
        """Stop a family's play, forget its results, and call ``then`` as soon as no play uses its tasks.

        ``then`` is called in the play's thread if one is under way, because it may have to wait for the worker.
        """
        self._waiting.pop(family_id, None)
        for key in [key for key in self._ended if key[0] == family_id]:
            del self._ended[key]
        play = self._current.get(family_id)
        if play is not None:
            with self._lock:
                if not play.has_ended.is_set():
                    play.is_stopped = True
                    play.at_end.append(then)
                    return
            del self._current[family_id]
        then()

    def close(self) -> None:
        """Stop all plays and wait for a limited time until they have ended."""
        plays = list(self._current.values())
        for play in plays:
            play.is_stopped = True
        end = self._monotonic() + STOP_S
        for play in plays:
            play.has_ended.wait(max(0.0, end - self._monotonic()))
        self._current.clear()
        self._ended.clear()

    def _wait_for(self, family_id: int, what: str, *, is_patient: bool | None) -> _Wait:
        if is_patient or not self._may_overlap:
            return _Wait(until=math.inf)
        if is_patient is None and not self.is_slow(family_id, what) and family_id not in self._current:
            return _Wait(until=self._monotonic() + self._usual_wait_s(family_id, what))
        if not self._has_others(family_id):
            return _Wait(until=self._monotonic() + self._patience_s, is_idle=True)
        return _Wait(until=self._monotonic())

    def _usual_wait_s(self, family_id: int, what: str) -> float:
        """Return the seconds to wait for a play of a kind that is not known to be slow."""
        took_s = self._took_s.get((family_id, what))
        if took_s is None:
            return self._patience_s
        return min(self._patience_s, max(SHORTEST_SHARE * self._patience_s, USUAL_FACTOR * took_s))

    def _require_place(self, family_id: int, wait: _Wait) -> None:
        """Raise if the play would only run in the background, and there is no place or others wait for it already.

        Raises:
            UnderWayError: the family has to wait.
        """
        if wait.until <= self._monotonic() and not self._has_place(family_id):
            raise UnderWayError(f"{len(self.under_way())} families are played in the background: waits for a place")

    def _has_place(self, family_id: int) -> bool:
        """Return whether a family that is asked for now may be played; otherwise it waits for its turn from now on."""
        self._waiting[family_id] = self._monotonic()
        return family_id in self.have_places()

    def _in_turn(self) -> list[int]:
        """Return the families that wait for a place, those first that have waited for the longest time."""
        since = self._monotonic() - WAITING_S
        self._waiting = {family_id: at for family_id, at in self._waiting.items() if at >= since}
        return list(self._waiting)

    def _begin(self, family_id: int, what: str, play: Callable[[], Any], token: Hashable) -> _Play:
        begun = _Play(what=what, token=token, began=self._monotonic())
        self._waiting.pop(family_id, None)
        self._current[family_id] = begun
        self.num_changes += 1
        threading.Thread(target=self._carry_out, args=(begun, play), name=f"{what}-{family_id}", daemon=True).start()
        return begun

    def _carry_out(self, begun: _Play, play: Callable[[], Any]) -> None:
        """Play in this thread. What it raises is raised again where the result is taken."""
        self._of_this_thread.play = begun
        try:
            begun.result = play()
        except BaseException as error:  # noqa: BLE001  (the boundary of a thread: the trainer raises it again)
            begun.error = error
        begun.took_s = self._monotonic() - begun.began
        with self._lock:
            if not begun.is_stopped:
                begun.has_ended.set()
                return
        for clean_up in begun.at_end:
            try:
                clean_up()
            except Exception:
                log.exception("tasks could not be closed after a play was stopped", play=begun.what)
        begun.has_ended.set()

    def _await(self, play: _Play, wait: _Wait) -> None:
        """Wait until a play has ended, at most for the given time.

        Raises:
            UnderWayError: it has not ended by then.
        """
        while not play.has_ended.wait(min(CHECK_S, max(0.0, wait.until - self._monotonic()))):
            if self._monotonic() >= wait.until or (wait.is_idle and self._has_another_ended(play)):
                passed_s = self._monotonic() - play.began
                raise UnderWayError(f"{play.what} goes on in the background, {passed_s:.1f} s so far")
            self._on_wait()

    def _has_another_ended(self, awaited: _Play) -> bool:
        return any(play.has_ended.is_set() for play in list(self._current.values()) if play is not awaited)

    def _file_ended(self, family_id: int) -> None:
        """File the result of the family's play if it has ended; drop it if it was stopped."""
        play = self._current.get(family_id)
        if play is None or not play.has_ended.is_set():
            return
        del self._current[family_id]
        self.num_changes += 1
        if not play.is_stopped:
            self._took_s[family_id, play.what] = play.took_s
            self._ended[family_id, play.what] = play

    def _raise_fault(self, family_id: int) -> None:
        """Raise what a play of the family raised, of any kind, if no job was given it: its tasks may be closed."""
        for (known, what), play in list(self._ended.items()):
            if known == family_id and play.error is not None:
                self._outcome(family_id, what, play)

    def _result_of(self, family_id: int, what: str, token: Hashable) -> _Play | None:
        """Return the play of this kind that has ended, with this token; drop one with another token."""
        ended = self._ended.get((family_id, what))
        if ended is None or ended.token == token:
            return ended
        del self._ended[family_id, what]
        return None

    def _outcome(self, family_id: int, what: str, play: _Play) -> Any:
        """Return the result of a play that has ended, or raise its error, which is then forgotten."""
        play.is_seen = True
        if play.error is None:
            return play.result
        self.forget(family_id, what)
        raise play.error
