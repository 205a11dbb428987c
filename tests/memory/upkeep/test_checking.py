from __future__ import annotations

import pytest

from memory.errors import CorruptFileError
from memory.folder import DataFolder
from memory.records import ProblemKind
from memory.store import Store
from tests.memory.making import add_active_family, make_rehearsal_step, make_step, make_tensors, publish_next


@pytest.fixture
def filled(store: Store) -> Store:
    add_active_family(store)
    for seed in range(3):
        store.learner_steps.commit(make_step(seed=seed), make_tensors(seed), {})
    publish_next(store)
    return store


def change(store: Store, sql: str, *parameters: object) -> None:
    with store._connection.transaction("damaging the store"):
        store._connection.execute(sql, parameters)


def test_a_sound_store_has_no_problems(filled: Store) -> None:
    assert filled.check() == []


def test_a_flipped_byte_in_an_episode_is_found_by_check_and_by_loading(filled: Store) -> None:
    payload = bytearray(filled._connection.value("SELECT payload FROM episodes WHERE id = 3"))
    payload[len(payload) // 2] ^= 0x01
    change(filled, "UPDATE episodes SET payload = ? WHERE id = 3", bytes(payload))
    (problem,) = filled.check()
    assert problem.subject == "trial 2"
    assert "episode 0 does not match its checksum" in problem.found
    with pytest.raises(CorruptFileError, match="episode 0"):
        filled.trials.load(2)
    assert filled.trials.load(1)


def test_a_missing_episode_is_found(filled: Store) -> None:
    change(filled, "DELETE FROM episodes WHERE id = 3")
    with pytest.raises(CorruptFileError, match="1 of 2 episodes"):
        filled.trials.load(2)
    assert any("episodes" in problem.found for problem in filled.check())


def test_a_flipped_byte_on_the_disk_is_found(filled: Store, folder: DataFolder) -> None:
    payload = bytes(filled._connection.value("SELECT payload FROM episodes WHERE id = 5"))
    filled.close()
    content = folder.store_path.read_bytes()
    damaged = bytearray(payload)
    damaged[30] ^= 0x40
    assert payload[20:60] in content
    folder.store_path.write_bytes(content.replace(payload[20:60], bytes(damaged[20:60])))
    with Store.open(folder, is_reader=True) as reader:
        (problem,) = reader.check()
        assert problem.subject == "trial 3"


@pytest.mark.parametrize("damage", ["removed", "flipped"])
def test_a_damaged_parameter_file_is_found(filled: Store, folder: DataFolder, damage: str) -> None:
    path = folder.parameters_path / f"{filled.initializations.get(1).file.sha256}.safetensors"
    if damage == "removed":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(bytes(content))
    (problem,) = filled.check()
    assert problem.subject == str(path)
    assert problem.hint


def test_totals_that_do_not_match_the_learner_steps_are_found(filled: Store) -> None:
    change(filled, "UPDATE families SET env_steps = env_steps + 1")
    (problem,) = filled.check()
    assert (problem.subject, problem.found) == ("family cartpole", "env_steps is 481, its records sum to 480")


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE rehearsal_trials SET trial_id = 1 WHERE slot = 3", "trial 1 of another family"),
        ("UPDATE rehearsal_trials SET slot = 64 WHERE slot = 3", "trial 7 of the family"),
        ("UPDATE rehearsal_trials SET slot = -1 WHERE slot = 3", "trial 7 of the family"),
        ("UPDATE families SET state = 'removed' WHERE name = 'acrobot'", "trial 7 of the family"),
    ],
)
def test_a_slot_of_a_reservoir_that_no_commit_writes_is_found(filled: Store, damage: str, found: str) -> None:
    add_active_family(filled, "acrobot")
    filled.learner_steps.commit(make_rehearsal_step("acrobot", slots=(3, None)), make_tensors(9), {})
    assert filled.check() == []
    change(filled, damage)
    (problem,) = filled.check()
    assert "rehearsal reservoir of acrobot" in problem.subject
    assert problem.found.startswith(found)
    assert (problem.kind, problem.key) == (ProblemKind.ROW, "rehearsal_trials:1")


def test_a_damaged_database_is_found(filled: Store, folder: DataFolder) -> None:
    filled.close()
    content = bytearray(folder.store_path.read_bytes())
    page = 4096 * 20
    content[page : page + 2048] = b"\xff" * 2048
    folder.store_path.write_bytes(bytes(content))
    with Store.open(folder, is_reader=True) as reader:
        problems = reader.check()
        assert problems
        assert "backup" in problems[0].hint


def test_check_tells_how_far_it_is(filled: Store) -> None:
    told: list[tuple[str, int]] = []
    filled.check(progress=lambda what, count: told.append((what, count)))
    assert ("episodes", 12) in told
    assert ("parameter files", 2) in told
