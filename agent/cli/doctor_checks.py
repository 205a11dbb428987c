"""The checks of ``learnd doctor``, in the order in which they are made."""

from __future__ import annotations

from agent.cli.doctor_findings import Check
from agent.cli.doctor_installation import device, python_version, sqlite_library
from agent.cli.doctor_isolation import isolation
from agent.cli.doctor_service import address, families, family_files, locks, schedule
from agent.cli.doctor_storage import (
    backups,
    data_folder,
    file_system,
    known_damage,
    leftovers,
    ownership,
    store_identity,
    store_integrity,
    store_size,
)
from agent.cli.doctor_unit import unit

CHECKS: tuple[tuple[str, Check], ...] = (
    ("Python", python_version),
    ("SQLite", sqlite_library),
    ("data folder", data_folder),
    ("store identity", store_identity),
    ("ownership", ownership),
    ("file system", file_system),
    ("locks", locks),
    ("unit", unit),
    ("leftovers", leftovers),
    ("address", address),
    ("device", device),
    ("isolation", isolation),
    ("schedule", schedule),
    ("families", families),
    ("family files", family_files),
    ("size", store_size),
    ("backups", backups),
    ("known damage", known_damage),
    ("store", store_integrity),
)
