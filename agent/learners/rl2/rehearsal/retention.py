"""Retention of a reservoir: batches of trials whose ages grow by about the same factor, from the newest to the first.

The newest trials show what the family's policy does now. Older ones were played by worse policies, so they reach states
that the newest ones avoid, and in which a policy that is losing the family finds itself. Of n batches that were ever
stored, B are kept. A new batch takes the place of the one without which the ages of its neighbours differ least, by
their ratio. The first batch always stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

BATCH_TRIALS = 8
"""Trials of a batch: as many as are stored of a slice by default."""


@dataclass(frozen=True, kw_only=True)
class Retention:
    """The batches that are kept.

    Attributes:
        numbers: by batch place, the number of the batch that has it, from 1; 0 if it is free.
        size: slots of a batch.
        filled: trials of the newest batch so far.
    """

    numbers: tuple[int, ...]
    size: int
    filled: int

    @classmethod
    def empty(cls, num_slots: int) -> Retention:
        """Return the retention of a reservoir of so many slots that has no trial yet."""
        places = max(1, num_slots // BATCH_TRIALS)
        size = num_slots // places
        return cls(numbers=(0,) * places, size=size, filled=size)

    @classmethod
    def of_json(cls, value: Sequence[int], num_slots: int) -> Retention:
        """Return what :meth:`to_json` returned; an empty one if it is of a reservoir of another number of slots."""
        empty = cls.empty(num_slots)
        *numbers, filled = value
        return replace(empty, numbers=tuple(numbers), filled=filled) if len(numbers) == len(empty.numbers) else empty

    def with_slots(self, slots: Iterable[int]) -> Retention:
        """Return the retention of a reservoir that has trials in these slots, the oldest first."""
        newest = {slot // self.size: order for order, slot in enumerate(slots)}
        by_age = sorted(newest, key=lambda place: newest[place])
        numbers = tuple(by_age.index(place) + 1 if place in newest else 0 for place in range(len(self.numbers)))
        return replace(self, numbers=numbers, filled=self.size)

    def without(self, slots: Iterable[int]) -> Retention:
        """Return the retention with the places of these slots free, except that of the newest batch."""
        newest = max(self.numbers)
        freed = {slot // self.size for slot in slots}
        numbers = (0 if place in freed and number != newest else number for place, number in enumerate(self.numbers))
        return replace(self, numbers=tuple(numbers))

    def to_json(self) -> list[int]:
        """Return the numbers of the batches, and the trials of the newest one."""
        return [*self.numbers, self.filled]

    def next_slots(self, count: int) -> tuple[list[int], Retention]:
        """Return the slots that the next trials take, and the retention once they have them."""
        slots, kept = [], self
        for _ in range(count):
            kept = kept if kept.filled < kept.size else kept._with_new_batch()
            slots.append(kept.numbers.index(max(kept.numbers)) * kept.size + kept.filled)
            kept = replace(kept, filled=kept.filled + 1)
        return slots, kept

    def _with_new_batch(self) -> Retention:
        place, newest = self._place_to_take(), max(self.numbers)
        numbers = tuple(newest + 1 if index == place else number for index, number in enumerate(self.numbers))
        return replace(self, numbers=numbers, filled=0)

    def _place_to_take(self) -> int:
        """Return a free place, or that of the batch whose neighbours are nearest to each other by ratio of age."""
        if 0 in self.numbers:
            return self.numbers.index(0)
        if len(self.numbers) < 3:
            return self.numbers.index(max(self.numbers))
        by_age = sorted(self.numbers, reverse=True)
        now = by_age[0] + 1
        ratios = {
            number: (now - older) / (now - younger)
            for younger, number, older in zip(by_age, by_age[1:], by_age[2:], strict=False)
        }
        return self.numbers.index(min(ratios, key=lambda number: ratios[number]))
