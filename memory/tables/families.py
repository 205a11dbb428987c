"""The families of a store: their descriptions, states and totals."""

from __future__ import annotations

from typing import Any

from envs.errors import FamilySpecError
from envs.family import FamilySpec
from envs.pace import Pace
from memory.connection import Row, StoreConnection, from_json, to_json
from memory.errors import CorruptFileError, FamilyExistsError, FamilyNotFoundError
from memory.records import Family, FamilyState, FamilyTotals, UnreadableSpec
from memory.repair_hint import STOP_AND_REPAIR
from memory.row_checksums import is_intact, seal
from memory.tables.counters import CounterTable
from memory.tables.quarantines import begin_quarantine, end_quarantine
from memory.tables.rehearsal_slots import free_slots

UNREADABLE_HINT = "Use the version of learnd that wrote it, or remove the family and add it again."
DAMAGED = "its row in the store does not match its checksum"
_SELECT_PRESENT = "SELECT * FROM families WHERE name = ? AND state <> 'removed'"


class FamilyTable:
    """The families of a store.

    A removed family keeps its row and its history under its id. Its name is free for a new family without history.
    """

    def __init__(self, connection: StoreConnection, counters: CounterTable) -> None:
        self._connection = connection
        self._counters = counters
        self._read: dict[int, tuple[tuple[Any, ...], Family]] = {}
        """The rows that :meth:`all` read last, by id, with their families."""
        self._listed: dict[bool, tuple[tuple[int, int], list[Family]]] = {}
        """The last result of :meth:`all`, with and without removed families, and the changes of the store by then."""

    def add(self, spec: FamilySpec, *, state: FamilyState = FamilyState.PENDING) -> Family:
        """Add a family.

        Args:
            spec: its description; the name must be unique among families that are not removed.
            state: initial state.

        Raises:
            FamilyExistsError: the store has a family of that name.
        """
        name = spec.name
        with self._connection.transaction("adding a family"):
            if self._connection.row(_SELECT_PRESENT, (name,)):
                raise FamilyExistsError(
                    operation="adding family",
                    subject=name,
                    found="there is one of that name.",
                    hint=f"Choose another name, or `learnd env remove {name}` first.",
                )
            # A removed family of this name may have left counters; the new family starts without any.
            self._counters.forget_family(name)
            row_id = self._connection.insert(
                "INSERT INTO families (name, state, spec, created_at) VALUES (?, ?, ?, ?)",
                (name, state, to_json(spec.to_json()), self._connection.clock()),
            )
            seal(self._connection, "families", row_id)
            return self.get(name)

    def all(self, *, with_removed: bool = False) -> list[Family]:
        """Return the families in the order in which they were added.

        They are not read again while nothing is written to the store. The daemon asks for them several times a second,
        and reading the rows of 1,000 families takes 3 ms.
        """
        changes, listed = self._connection.changes(), self._listed.get(with_removed)
        if changes is not None and listed is not None and listed[0] == changes:
            return list(listed[1])
        families = self._all(with_removed=with_removed)
        if changes is not None:
            self._listed[with_removed] = changes, families
        return list(families)

    def _all(self, *, with_removed: bool) -> list[Family]:
        found = self._connection.rows(
            "SELECT * FROM families WHERE ? OR state <> 'removed' ORDER BY id", (with_removed,)
        )
        read = {int(row["id"]): self._family_of(row) for row in found}
        self._read = read
        return [family for _, family in read.values()]

    def _family_of(self, row: Row) -> tuple[tuple[Any, ...], Family]:
        """Return the values of a row and its family, which is made only if the values are not those read last.

        A spec takes 50 µs to parse.
        """
        values = tuple(row)
        known = self._read.get(row["id"])
        return known if known is not None and known[0] == values else (values, _family(row))

    def first_added_at(self) -> float | None:
        """Return the time at which the first family was added, removed ones included; None if none ever was."""
        found = self._connection.value("SELECT min(created_at) FROM families")
        return None if found is None else float(found)

    def get(self, name: str) -> Family:
        """Return the family of that name that is not removed.

        Raises:
            FamilyNotFoundError: there is no such family.
        """
        row = self._connection.row(_SELECT_PRESENT, (name,))
        if row is None:
            raise FamilyNotFoundError(
                operation="looking up family",
                subject=name,
                found="there is none of that name.",
                hint="`learnd env list` shows those there are.",
            )
        return _family(row)

    def require(self, family: Family) -> Family:
        """Return the present row of a family. Another family that took the name of a removed one does not count.

        Raises:
            FamilyNotFoundError: the family was removed.
        """
        present = self.get(family.name)
        if present.id != family.id:
            raise FamilyNotFoundError(
                operation="looking up family",
                subject=family.name,
                found="it was removed, and another family has its name now.",
            )
        return present

    def set_state(
        self, name: str, state: FamilyState, *, reason: str = "", quarantined_until: float | None = None
    ) -> Family:
        """Set a family's state; ``REMOVED`` frees its name and empties its rehearsal reservoir.

        Args:
            name: name of the family.
            state: the new state.
            reason: the reason for the state, as text for people.
            quarantined_until: time at which a quarantined family is tried again.

        Raises:
            FamilyNotFoundError: there is no family of that name.
            ValueError: ``quarantined_until`` is given for another state, or missing for ``QUARANTINED``.
        """
        if (state == FamilyState.QUARANTINED) != (quarantined_until is not None):
            raise ValueError("quarantined_until belongs to the state quarantined, and to no other")
        with self._connection.transaction("setting a family's state"):
            family = self.get(name)
            self._connection.execute(
                "UPDATE families SET state = ?, state_reason = ?, quarantined_until = ? WHERE id = ?",
                (state, reason, quarantined_until, family.id),
            )
            if quarantined_until is not None:
                begin_quarantine(self._connection, family.id, until=quarantined_until, reason=reason)
            else:
                end_quarantine(self._connection, family.id)
            if state is FamilyState.REMOVED:
                free_slots(self._connection, family.id)
            return _family(self._connection.rows("SELECT * FROM families WHERE id = ?", (family.id,))[0])

    def admit(
        self,
        name: str,
        *,
        spaces: dict[str, Any],
        random_return: float,
        reference_return: float | None,
        spec: FamilySpec | None = None,
        family_id: int | None = None,
    ) -> Family:
        """Record that a family passed admission, and make it active.

        Args:
            name: name of the family.
            spaces: ``SpacePair.to_json()`` or ``FewShotShapes.to_json()``.
            random_return: mean trial return of random actions.
            reference_return: trial return of score 1; None leaves the family without a scale.
            spec: the new spec of the family; None keeps the old one.
            family_id: id that the family must have; None accepts any.

        Raises:
            FamilyNotFoundError: there is no family of that name and id.
            CorruptFileError: the family's row is damaged.
        """
        with self._connection.transaction("admitting a family"):
            family = self._intact(name)
            if family_id not in {None, family.id}:
                raise FamilyNotFoundError(
                    operation="admitting family", subject=name, found="another family has its name now."
                )
            self._connection.execute(
                "UPDATE families SET state = ?, state_reason = '', quarantined_until = NULL, strikes = 0,"
                " spaces = ?, random_return = ?, reference_return = ?, spec = coalesce(?, spec) WHERE id = ?",
                (
                    FamilyState.ACTIVE,
                    to_json(spaces),
                    random_return,
                    reference_return,
                    None if spec is None else to_json(spec.to_json()),
                    family.id,
                ),
            )
            seal(self._connection, "families", family.id)
            return self.get(name)

    def record_pace(self, name: str, pace: Pace) -> None:
        """Record the usual speed of a family's environment.

        Raises:
            FamilyNotFoundError: there is no family of that name.
        """
        with self._connection.transaction("recording the speed of a family"):
            family = self.get(name)
            self._connection.execute("UPDATE families SET pace = ? WHERE id = ?", (to_json(pace.to_json()), family.id))

    def _intact(self, name: str) -> Family:
        """Return a family whose row may be written again. A new checksum for a damaged row would hide the damage.

        Raises:
            FamilyNotFoundError: there is no family of that name.
            CorruptFileError: the family's row is damaged.
        """
        family = self.get(name)
        if family.is_damaged:
            raise CorruptFileError(
                operation="changing family", subject=name, found=f"{family.state_reason}.", hint=STOP_AND_REPAIR
            )
        return family

    def record_strike(self, name: str, *, reason: str, detail: str) -> int:
        """Count a fault of a family's worker; return the number of consecutive strikes.

        Args:
            name: name of the family.
            reason: kind of the fault, one of a fixed set of values. The counter ``worker_restarts`` has it as a label.
            detail: description of the fault, as text for people; it becomes the family's ``state_reason``.

        Raises:
            FamilyNotFoundError: there is no family of that name.
        """
        with self._connection.transaction("recording a strike"):
            family = self.get(name)
            self._connection.execute(
                "UPDATE families SET strikes = strikes + 1, state_reason = ? WHERE id = ?",
                (f"{reason}: {detail}" if detail else reason, family.id),
            )
            self._counters.add("worker_restarts", {"family": name, "reason": reason})
            return family.strikes + 1

    def clear_strikes(self, name: str) -> None:
        """Reset a family's strikes to 0 after a success.

        Raises:
            FamilyNotFoundError: there is no family of that name.
        """
        family = self.get(name)
        if family.strikes == 0:
            return
        with self._connection.transaction("clearing a family's strikes"):
            self._connection.execute(
                "UPDATE families SET strikes = 0,"
                " state_reason = CASE WHEN state = 'active' THEN '' ELSE state_reason END WHERE id = ?",
                (family.id,),
            )


def _family(row: Row) -> Family:
    """Return the family of a row.

    A family with an unreadable spec is refused in this version, so other families can still be practised. The state in
    its row is kept.
    """
    is_damaged = not is_intact("families", row) or row["state"] not in list(FamilyState)
    spec = UnreadableSpec(reason=DAMAGED, hint=STOP_AND_REPAIR) if is_damaged else _spec(row["spec"])
    is_unreadable = isinstance(spec, UnreadableSpec)
    is_refused = is_unreadable and row["state"] != FamilyState.REMOVED
    return Family(
        id=row["id"],
        name=row["name"],
        state=FamilyState.REFUSED if is_refused else FamilyState(row["state"]),
        state_reason=spec.reason if isinstance(spec, UnreadableSpec) else row["state_reason"],
        spec=spec,
        spaces=None if is_unreadable or row["spaces"] is None else from_json(row["spaces"]),
        random_return=row["random_return"],
        reference_return=row["reference_return"],
        strikes=row["strikes"],
        quarantined_until=None if is_refused else row["quarantined_until"],
        totals=FamilyTotals(
            env_steps=row["env_steps"],
            episodes=row["episodes"],
            trials=row["trials"],
            meta_updates=row["meta_updates"],
        ),
        created_at=row["created_at"],
        pace=_pace(row["pace"]),
        is_damaged=is_damaged,
    )


def _pace(text: str | None) -> Pace | None:
    """Return the pace of a column; None if it is not known or cannot be read, because it will be measured again."""
    if text is None:
        return None
    try:
        values = from_json(text)
    except CorruptFileError:
        return None
    return Pace.from_json(values) if isinstance(values, dict) else None


def _spec(text: str) -> FamilySpec | UnreadableSpec:
    """Return the spec of a column. A column that cannot be read is a value, so that it makes no command fail."""
    try:
        values = from_json(text)
    except CorruptFileError:
        return UnreadableSpec(reason="its spec cannot be read: it is not JSON", hint=UNREADABLE_HINT)
    try:
        return FamilySpec.from_json(values)
    except FamilySpecError as error:
        reason = f"its spec cannot be read: {error.found.removesuffix('.')}"
        shown = values if isinstance(values, dict) else {}
        return UnreadableSpec(reason=reason, hint=UNREADABLE_HINT, values=shown)
