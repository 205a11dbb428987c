"""The due times of a cron line in local time, across changes of the clock.

- A line with fixed hours (``30 2 * * *``) is due once for each date and time that it names. A time that a change of the
  clock skips is due as much later; of a time that occurs twice, the first counts.
- A line of every hour (``*/10 * * * *``) goes on in equal steps, also through an hour that occurs twice.

APScheduler gives the times of the wall clock, as if it never changed. Its own time zones skip and repeat dates.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from apscheduler.triggers.cron import CronTrigger

_LONGEST_CHANGE = timedelta(hours=3)
"""No zone changes its clock by more, but for a few that crossed the date line."""


def next_time(trigger: CronTrigger, *, at: float, zone: tzinfo, is_of_every_hour: bool) -> float | None:
    """Return the first due time after ``at``, in seconds since the epoch; None if there is none.

    Args:
        trigger: the line in UTC, which stands for the wall clock.
        at: seconds since the epoch.
        zone: the zone of the line.
        is_of_every_hour: whether the line names no hours.
    """
    local = datetime.fromtimestamp(at, zone)
    if is_of_every_hour:
        return _next_step(trigger, local, zone)
    return _next_date(trigger, local, zone)


def _next_date(trigger: CronTrigger, local: datetime, zone: tzinfo) -> float | None:
    at = local.timestamp()
    wall: datetime | None = _wall(local)
    before = datetime.fromtimestamp(at - _LONGEST_CHANGE.total_seconds(), zone)
    if before.utcoffset() != local.utcoffset():  # a time that the change skipped may be due after ``at``
        wall = _wall(local) - _LONGEST_CHANGE
    while (wall := _next_wall(trigger, wall)) is not None:
        due = wall.replace(tzinfo=zone, fold=0).timestamp()
        if due > at:
            return due
    return None


def _next_step(trigger: CronTrigger, local: datetime, zone: tzinfo) -> float | None:
    at, wall, offset = local.timestamp(), _wall(local), local.utcoffset()
    while (fire := _next_wall(trigger, wall)) is not None:
        due = fire.timestamp() - (offset or timedelta()).total_seconds()
        if datetime.fromtimestamp(due, zone).utcoffset() == offset:
            return due
        at = _change_after(at, due, zone)  # the clock changes before: go on from there
        changed = datetime.fromtimestamp(at, zone)
        wall, offset = _wall(changed) - timedelta(seconds=1), changed.utcoffset()
    return None


def _next_wall(trigger: CronTrigger, wall: datetime | None) -> datetime | None:
    """Return the first time of the wall clock after ``wall`` that the line names."""
    fire: datetime | None = trigger.get_next_fire_time(wall, wall)
    return fire


def _wall(local: datetime) -> datetime:
    return local.replace(tzinfo=UTC, fold=0)


def _change_after(low: float, high: float, zone: tzinfo) -> float:
    """Return a second at which the clock has changed from its offset at ``low``; at ``high`` it has changed."""
    offset = datetime.fromtimestamp(low, zone).utcoffset()
    while high - low > 1.0:
        middle = (low + high) / 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return float(int(high))
