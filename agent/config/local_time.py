"""The local time zone, by the same rules as the C library. Cron lines and windows of practice use it.

The setting ``service.time_zone`` takes the place of ``TZ``. ``TZ`` may be a zone of the time zone database
("Europe/Berlin"), a file (":/etc/localtime"), or a POSIX string ("CET-1CEST,M3.5.0,M10.5.0/3"; POSIX.1-2017, Base
Definitions, section 8.3). Without ``TZ`` the zone is that of ``/etc/localtime``, or UTC if the file is missing.
"""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from agent.errors import SettingsError, SettingsProblem

VARIABLE = "TZ"
ZONE_FORM = 'a time zone such as "Europe/Berlin", a file such as ":/etc/localtime", or a POSIX string such as "UTC-3"'

_NAME = r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)"
_CLOCK = r"(?::[0-5]?\d(?::[0-5]?\d)?)?"
_OFFSET = rf"[+-]?(?:[01]?\d|2[0-3]){_CLOCK}"
_DAY = r"(?:M(?:0?[1-9]|1[0-2])\.[1-5]\.[0-6]|J?\d{1,3})"
_RULE = rf"{_DAY}(?:/[+-]?\d{{1,3}}{_CLOCK})?"
_POSIX = re.compile(rf"{_NAME}{_OFFSET}(?:{_NAME}(?:{_OFFSET})?(?:,{_RULE},{_RULE})?)?")


class SystemTime(tzinfo):
    """A time zone with the offsets of the C library, which reads ``TZ`` and ``/etc/localtime``."""

    def utcoffset(self, local: datetime | None) -> timedelta | None:
        """Return local time minus UTC at ``local``; its ``fold`` distinguishes two equal wall-clock times."""
        return None if local is None else _offset_at(local)

    def dst(self, local: datetime | None) -> timedelta | None:
        """Return None: the part of the offset that is summer time is unknown."""
        del local
        return None

    def tzname(self, local: datetime | None) -> str | None:
        """Return the zone's abbreviation at ``local``."""
        return None if local is None else local.replace(tzinfo=None).astimezone().tzname()

    def fromutc(self, utc: datetime) -> datetime:
        """Return the wall-clock time of ``utc``, with ``fold`` set if it is the second of two equal ones."""
        fixed = utc.replace(tzinfo=UTC).astimezone()
        local = fixed.replace(tzinfo=None, fold=0)
        is_second = _offset_at(local) != fixed.utcoffset()
        return local.replace(tzinfo=self, fold=int(is_second))


def _offset_at(local: datetime) -> timedelta | None:
    return local.replace(tzinfo=None).astimezone().utcoffset()


def local_zone() -> tzinfo:
    """Return the local time zone; UTC if ``TZ`` is not a time zone."""
    return _zone_of(os.environ.get(VARIABLE)) or UTC


def use_time_zone(name: str) -> None:
    """Make a zone the local one of this process and of those that it starts; nothing changes if it is empty."""
    if name:
        os.environ[VARIABLE] = name
        time.tzset()


def zone_name(name: str = "") -> str:
    """Return a name of the local zone for users.

    Args:
        name: the value of ``service.time_zone``.
    """
    named = (name or os.environ.get(VARIABLE) or "").removeprefix(":")
    if named:
        return named
    _, separator, of_file = os.path.realpath("/etc/localtime").partition("/zoneinfo/")
    return of_file if separator else time.strftime("%Z")


def checked_zone(name: str) -> str:
    """Return the name of a time zone, or an empty one.

    Raises:
        ValueError: there is no such zone.
    """
    if name and _zone_of(name) is None:
        raise ValueError(ZONE_FORM)
    return name


def is_zone_known() -> bool:
    """Return whether ``TZ`` is unset or a time zone."""
    return _zone_of(os.environ.get(VARIABLE)) is not None


def check_time_zone() -> None:
    """Raise if ``TZ`` is not a time zone. Cron lines and windows of practice would otherwise silently be in UTC.

    Raises:
        SettingsError: ``TZ`` is not a time zone.
    """
    if not is_zone_known():
        value = repr(os.environ.get(VARIABLE))
        problem = SettingsProblem(key=VARIABLE, value=value, allowed=ZONE_FORM, source=f"variable {VARIABLE}")
        raise SettingsError(subject="environment and options", problems=[problem])


@cache
def _zone_of(text: str | None) -> tzinfo | None:
    """Return the time zone of a value of ``TZ``; None if it is not a time zone."""
    name = (text or "").removeprefix(":")
    if not name:
        return SystemTime()
    try:
        if name.startswith("/"):
            with Path(name).open("rb") as file:
                return ZoneInfo.from_file(file, key=name)
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # raised by zoneinfo for unknown names, damaged files and folders
        return SystemTime() if _POSIX.fullmatch(name) else None
