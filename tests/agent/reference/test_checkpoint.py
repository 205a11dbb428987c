"""Checkpoints of measurements: written, verified, and gone on from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from agent.reference import checkpoint as module
from agent.reference.checkpoint import CheckpointFile, SavedTraining
from agent.reference.measure import EVALUATION, TRAINING, Measurement, Report, measure
from agent.reference.training import Training
from envs.family import FamilySpec
from tests.agent.reference.test_measure import spaces_of
from tests.envs.families import LIMITS, opened, sound

SAVED = SavedTraining(
    tensors={"parameters.weight": torch.arange(3.0)}, num_steps=2048, next_task=40, duration_s=1.5, num_resumed=1
)


class StoppedError(Exception):
    """An interruption of a measurement; the daemon interrupts one by killing its process."""


def measurement_of(spec: FamilySpec, *, num_steps: int) -> Measurement:
    return Measurement(spec=spec, spaces=spaces_of(spec), num_steps=num_steps, num_held_out=4, seed=3, limits=LIMITS)


def interrupt_after(num_steps: int, phase: str = TRAINING) -> Report:
    def report(now: str, steps: int) -> None:
        if now == phase and steps > num_steps:
            raise StoppedError

    return report


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "1.safetensors", identity="a")
    assert file.read() is None, "there is none yet"
    file.write(SAVED)
    read = file.read()
    assert read is not None
    assert torch.equal(read.tensors["parameters.weight"], torch.arange(3.0))
    assert (read.num_steps, read.next_task, read.duration_s, read.num_resumed) == (2048, 40, 1.5, 1)


def test_the_checkpoint_of_another_measurement_is_not_used(tmp_path: Path) -> None:
    CheckpointFile(tmp_path / "1.safetensors", identity="a").write(SAVED)
    assert CheckpointFile(tmp_path / "1.safetensors", identity="b").read() is None


def test_a_damaged_checkpoint_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "1.safetensors"
    CheckpointFile(path, identity="a").write(SAVED)
    content = path.read_bytes()
    values = bytearray(content)
    values[-1] ^= 1
    path.write_bytes(values)
    assert CheckpointFile(path, identity="a").read() is None
    path.write_bytes(content.replace(b"2048", b"4096"))
    assert CheckpointFile(path, identity="a").read() is None
    path.write_bytes(content[: len(content) // 2])
    assert CheckpointFile(path, identity="a").read() is None


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_training(tmp_path: Path) -> None:
    CheckpointFile(tmp_path / "missing" / "1.safetensors", identity="a").write(SAVED)


def test_an_interrupted_measurement_goes_on_from_its_last_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update_steps: int
) -> None:
    monkeypatch.setattr(module, "SAVE_PERIOD_S", 0.0)
    spec = sound("BoxActions", episodes_per_trial=2)
    file = CheckpointFile(tmp_path / "1.safetensors", identity="a")
    with pytest.raises(StoppedError):
        measure(
            measurement_of(spec, num_steps=3 * update_steps), report=interrupt_after(2 * update_steps), checkpoint=file
        )
    saved = file.read()
    assert saved is not None
    assert (saved.num_steps, saved.num_resumed) == (2 * update_steps, 0)

    steps: list[int] = []
    measured = measure(
        measurement_of(spec, num_steps=3 * update_steps), report=lambda _, done: steps.append(done), checkpoint=file
    )
    assert 2 * update_steps <= min(steps) <= 2 * update_steps + 8
    assert (measured.steps, measured.num_resumed) == (3 * update_steps, 1)
    assert measured.duration_s > saved.duration_s
    assert "interrupted and resumed: 1" in measured.source


def test_a_measurement_that_is_interrupted_while_it_is_scored_does_not_train_again(
    tmp_path: Path, update_steps: int
) -> None:
    spec = sound("Counter", episodes_per_trial=2)
    file = CheckpointFile(tmp_path / "1.safetensors", identity="a")
    with pytest.raises(StoppedError):
        measure(measurement_of(spec, num_steps=10), report=interrupt_after(0, phase=EVALUATION), checkpoint=file)
    phases: list[str] = []
    measured = measure(
        measurement_of(spec, num_steps=10),
        report=lambda phase, steps: phases.append(f"{phase} {steps > update_steps}"),
        checkpoint=file,
    )
    assert (measured.steps, measured.num_resumed) == (update_steps, 1)
    assert "training True" not in phases


def test_agent_and_normaliser_are_restored_and_training_tasks_are_not_repeated(
    tmp_path: Path, update_steps: int
) -> None:
    spec = sound("BoxActions", episodes_per_trial=2)
    file = CheckpointFile(tmp_path / "1.safetensors", identity="a")
    tasks = opened(spec, 8)
    try:
        trained, normaliser = Training(num_steps=10, seed=3, report=lambda _: None, checkpoint=file).run(tasks)
        begun: list[int] = []
        begin = tasks.begin
        tasks.begin = lambda first, *, split: (begun.append(first), begin(first, split=split))[1]  # type: ignore[method-assign]
        restored, other = Training(num_steps=10, seed=3, report=lambda _: None, checkpoint=file).run(tasks)
    finally:
        tasks.close()
    saved = file.read()
    assert saved is not None
    assert begun
    assert begun[0] > 8
    for (name, parameter), (_, expected) in zip(
        restored.policy.named_parameters(), trained.policy.named_parameters(), strict=True
    ):
        assert torch.equal(parameter, expected), name
    moments, expected_moments = restored.policy.optimizer.state, trained.policy.optimizer.state
    assert [m["step"] for m in moments.values()] == [m["step"] for m in expected_moments.values()]
    assert (other.ret_rms.var, other.ret_rms.count) == (normaliser.ret_rms.var, normaliser.ret_rms.count)
