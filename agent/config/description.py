"""Every setting with its value, default and description, for users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent.config.settings import Settings, setting_fields


@dataclass(frozen=True, kw_only=True)
class SettingRow:
    """A description of one setting for users.

    Attributes:
        key: dotted name.
        value: the value in its written form.
        default: the default in its written form.
        description: the effect of the setting.
    """

    key: str
    value: Any
    default: Any
    description: str


def describe_settings(settings: Settings) -> list[SettingRow]:
    """Return every setting with value, default and description, in the order of the sections."""
    defaults = Settings().model_dump(mode="json")
    values = settings.model_dump(mode="json")
    rows = []
    for key, field in setting_fields():
        section, _, name = key.rpartition(".")
        value = values[section][name] if section else values[name]
        default = defaults[section][name] if section else defaults[name]
        rows.append(SettingRow(key=key, value=value, default=default, description=field.description or ""))
    return rows
