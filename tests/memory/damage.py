"""Damage to a store and its disk, done on purpose."""

from __future__ import annotations

from pathlib import Path

from memory.folder import DataFolder
from memory.store import Store


def fill_last_bytes(path: Path) -> None:
    with path.open("wb", buffering=0) as stream:
        for size in (1 << 20, 4096, 1):
            try:
                while stream.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


def damage_file(folder: DataFolder, sha256: str) -> Path:
    """Flip a bit of a parameter file in a data folder, in a new inode, so that hard links to it are unchanged."""
    path = folder.parameters_path / f"{sha256}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    path.write_bytes(bytes(content))
    return path


def damage_episode(store: Store, episode_id: int = 2) -> None:
    with store._connection.transaction("damaging an episode"):
        store._connection.execute("UPDATE episodes SET payload = zeroblob(length(payload)) WHERE id = ?", (episode_id,))


def break_index(store: Store, folder: DataFolder) -> None:
    """Overwrite the entries of an index, like a damaged page; the rows stay intact."""
    root = store._connection.value("SELECT rootpage FROM sqlite_master WHERE name = 'trials_of_family'")
    size = store._connection.value("PRAGMA page_size")
    store.close()
    with folder.store_path.open("r+b") as stream:
        stream.seek((root - 1) * size)
        page = bytearray(stream.read(size))
        page[3:5] = b"\x00\x00"  # no entry is left in the index
        stream.seek((root - 1) * size)
        stream.write(page)


def change_value(store: Store, table: str, column: str, value: str) -> None:
    with store._connection.transaction("damaging a row"):
        store._connection.execute(f"UPDATE {table} SET {column} = {value} WHERE id = (SELECT max(id) FROM {table})")
