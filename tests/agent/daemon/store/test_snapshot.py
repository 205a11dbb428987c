"""A snapshot is read once a second, so reading one takes little, whatever the store holds."""

from __future__ import annotations

from pathlib import Path

from agent.daemon.store.snapshot import read_snapshot
from memory.folder import DataFolder
from memory.store import Store
from tests.memory.making import add_active_family, make_step, make_tensors


def test_a_snapshot_counts_episodes_without_a_look_at_trials(tmp_path: Path) -> None:
    with Store.open(DataFolder(tmp_path)) as store:
        add_active_family(store)
        store.learner_steps.commit(make_step(trials=3), make_tensors(size=10), {})
        statements: list[str] = []
        with Store.open(DataFolder(tmp_path), is_reader=True) as reader:
            reader._connection.raw.set_trace_callback(statements.append)
            snapshot = read_snapshot(reader, None)
        assert snapshot.episodes == {"cartpole": 6}
        assert snapshot.sizes.size_bytes == store.stats.memory_stats().size_bytes
    assert any("FROM families" in statement for statement in statements)
    assert [statement for statement in statements if "FROM trials" in statement or "FROM rehearsal" in statement] == []
