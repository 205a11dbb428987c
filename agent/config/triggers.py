"""Triggers of jobs and windows of practice, in the form that users write in the settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time
from functools import cache
from itertools import combinations

from apscheduler.triggers.cron import CronTrigger

from agent.config.cron_times import next_time
from agent.config.local_time import local_zone
from agent.config.units import MAX_DURATION_S, format_duration, parse_duration

TRIGGER_FORM = '"off", an interval of 1s or more such as "60s", "4m" or "24h", or "cron: M H DAY MONTH WEEKDAY"'
WINDOW_FORM = 'a window of local time such as "22:00-06:00"'

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_WEEKDAY_PART = re.compile(r"(\d)(?:-(\d))?(?:/(\d+))?|\*/(\d+)")
_WINDOW = re.compile(r"\s*(\d{1,2}):(\d{2})\s*[-\u2013]\s*(\d{1,2}):(\d{2})\s*")
_MIN_BARE_S = 60.0
"""A smaller interval needs its unit: ``backup = "1"`` mostly means a day or an hour, not a second."""
_MAX_COUNTED = 100_000
"""Limit of due times counted one by one: those of a cron job of every minute in ten weeks."""


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """A rule for the due times of a job: an interval, a cron line in local time, or off.

    Attributes:
        interval_s: seconds from one start to the next; None if the trigger is not an interval.
        cron: the five fields of a cron line; empty if the trigger is not one. Weekdays count from Sunday = 0, as in
            cron(5).
    """

    interval_s: float | None = None
    cron: str = ""

    @property
    def is_off(self) -> bool:
        """True if the job is never due."""
        return self.interval_s is None and not self.cron

    def next_after(self, at: float) -> float:
        """Return the first due time after ``at`` (seconds since the epoch); infinite if the trigger is off."""
        if self.interval_s is not None:
            return at + self.interval_s
        if not self.cron:
            return float("inf")
        is_of_every_hour = self.cron.split()[1].startswith("*")
        due = next_time(cron_trigger(self.cron), at=at, zone=local_zone(), is_of_every_hour=is_of_every_hour)
        return float("inf") if due is None else due

    def latest_possible(self, now: float) -> float:
        """Return the latest possible next due time at ``now``. A later one means that the clock was set back."""
        return self.next_after(now)

    def num_due(self, first: float, now: float) -> int:
        """Return the number of due times in [first, now], where ``first`` is a due time."""
        if first > now or self.is_off:
            return 0
        if self.interval_s is not None:
            return int((now - first) // self.interval_s) + 1
        count, at = 1, self.next_after(first)
        while at <= now and count < _MAX_COUNTED:
            count, at = count + 1, self.next_after(at)
        return count

    def stored(self) -> str:
        """Return the form that is stored: "interval:60", "cron:0 3 * * *" or "off"."""
        if self.interval_s is not None:
            return f"interval:{self.interval_s:g}"
        return f"cron:{self.cron}" if self.cron else "off"

    def __str__(self) -> str:
        """Return the form that users write in the settings."""
        if self.interval_s is not None:
            return format_duration(self.interval_s)
        return f"cron: {self.cron}" if self.cron else "off"


def parse_trigger(value: object) -> Trigger:
    """Return the trigger that ``value`` describes.

    Args:
        value: "off", an interval (a number of seconds or a text such as "4m"), or "cron: 0 3 * * *".

    Raises:
        ValueError: the value is none of these.
    """
    if isinstance(value, Trigger):
        return value
    text = str(value).strip()
    if text == "off":
        return Trigger()
    if text.startswith("cron:"):
        line = " ".join(text.removeprefix("cron:").split())
        _require_a_date(cron_trigger(line))
        return Trigger(cron=line)
    try:
        interval_s = parse_duration(text.removeprefix("interval:") if isinstance(value, str) else value)
    except ValueError:
        raise ValueError(TRIGGER_FORM) from None
    if not 1 <= interval_s <= MAX_DURATION_S:
        raise ValueError(TRIGGER_FORM)
    if interval_s < _MIN_BARE_S and _is_number(value):
        raise ValueError(f'an interval of less than a minute with its unit: "{text}s", if seconds are meant')
    return Trigger(interval_s=interval_s)


def _is_number(value: object) -> bool:
    """Return whether a value is a number without a unit, also in a text."""
    if isinstance(value, str):
        return re.fullmatch(r"[\d.e+-]+", value.strip(), re.IGNORECASE) is not None
    return isinstance(value, int | float)


def _require_a_date(trigger: CronTrigger) -> None:
    """Raise if a cron line has no due time, such as one for 31 February.

    Raises:
        ValueError: the line is never due.
    """
    now = datetime.now(trigger.timezone)
    if trigger.get_next_fire_time(now, now) is None:
        raise ValueError('a cron line with a date that comes (31 February never does), or "off"')


@cache
def cron_trigger(line: str) -> CronTrigger:
    """Return the APScheduler trigger of a cron line of five fields.

    APScheduler numbers weekdays from Monday = 0, cron(5) from Sunday = 0. The line is read as in cron(5). UTC stands
    for the wall clock (:mod:`agent.config.cron_times`).

    Args:
        line: the five fields.

    Raises:
        ValueError: the line is not a valid cron line.
    """
    fields = line.split()
    if len(fields) != 5:
        raise ValueError(TRIGGER_FORM)
    minute, hour, day, month, weekday = fields
    try:
        return CronTrigger(
            minute=minute,
            hour=hour,
            day=day,
            month=month,
            day_of_week=_named_weekdays(weekday),
            timezone=UTC,
        )
    except ValueError as error:
        raise ValueError(f"{TRIGGER_FORM} ({error})") from error


def _named_weekdays(weekdays: str) -> str:
    """Replace the numbers in cron's weekday field by names: "1-5" → "mon,tue,wed,thu,fri"."""
    parts = []
    for part in weekdays.split(","):
        match = _WEEKDAY_PART.fullmatch(part)
        if match is None:
            parts.append(part)
        elif match[4]:
            parts.extend(_WEEKDAYS[day] for day in range(0, 7, max(1, int(match[4]))))
        else:
            first, last, step = int(match[1]), int(match[2] or match[1]), max(1, int(match[3] or 1))
            if not first <= last <= 7:
                raise ValueError(f"the weekdays {part!r} are not within 0 to 7")
            parts.extend(_WEEKDAYS[day % 7] for day in range(first, last + 1, step))
    return ",".join(dict.fromkeys(parts))


@dataclass(frozen=True, kw_only=True)
class Window:
    """A daily window of local time: start ≤ time < end. It extends past midnight if end < start."""

    start: time
    end: time

    def contains(self, at: time) -> bool:
        """Return whether the local time of day ``at`` lies in the window."""
        if self.start <= self.end:
            return self.start <= at < self.end
        return at >= self.start or at < self.end

    def __str__(self) -> str:
        """Return the form that users write in the settings."""
        return f"{self.start:%H:%M}-{self.end:%H:%M}"


def parse_window(value: object) -> Window:
    """Return the window that ``value`` describes, a text such as "22:00-06:00".

    Raises:
        ValueError: the value is not a window, or the window is empty (start equals end).
    """
    if isinstance(value, Window):
        return value
    match = _WINDOW.fullmatch(str(value))
    if match is None:
        raise ValueError(WINDOW_FORM)
    start, end = (_time_of_day(int(match[i]), int(match[i + 1])) for i in (1, 3))
    if start == end:
        raise ValueError(f"{WINDOW_FORM} whose ends differ")
    return Window(start=start, end=end)


def check_disjoint(windows: tuple[Window, ...]) -> tuple[Window, ...]:
    """Return the windows if none overlaps another.

    Raises:
        ValueError: two windows overlap.
    """
    for first, second in combinations(windows, 2):
        if first.contains(second.start) or second.contains(first.start):
            raise ValueError(f"windows that do not overlap; {first} and {second} do, so write them as one")
    return windows


def _time_of_day(hour: int, minute: int) -> time:
    if hour == 24 and minute == 0:
        hour = 0
    try:
        return time(hour, minute)
    except ValueError:
        raise ValueError(WINDOW_FORM) from None


def is_within(windows: tuple[Window, ...], at: float) -> bool:
    """Return whether practice is allowed at ``at`` (seconds since the epoch); without windows it always is."""
    if not windows:
        return True
    local = datetime.fromtimestamp(at, local_zone()).time()
    return any(window.contains(local) for window in windows)
