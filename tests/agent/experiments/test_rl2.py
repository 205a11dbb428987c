"""RL² in the foreground is scored as the service scores it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config.settings import Settings
from agent.experiments.rl2 import RL2Assignment
from agent.learners.state import as_arrays
from agent.policies.version_file import decode_version
from agent.policies.version_header import header_to_metadata
from agent.trainer.version_scores import score_version
from envs.family import FamilySource, FamilySpec
from envs.limits import WorkerLimits
from envs.tensor.bandits import bandit_spaces
from memory.folder import DataFolder
from memory.store import Store

BANDITS = FamilySpec(
    name="bandits",
    source=FamilySource.TENSOR,
    entry="bernoulli_bandits",
    kwargs={"num_arms": 3},
    episodes_per_trial=5,
    reference_return=3.5,
    reference_source="test",
)
SMALL = ("hidden_size=8", "input_size=8", "scorer_size=4", "num_trials_tensor=8")
NUM_TASKS = 24


def test_the_same_file_gets_the_same_returns_in_the_foreground_and_in_a_store(tmp_path: Path) -> None:
    trainee = RL2Assignment(BANDITS, WorkerLimits(), given=SMALL).begin(2)
    trainee.update()
    told: list[int] = []
    foreground = trainee.score(NUM_TASKS, progress=told.append)
    file = decode_version(trainee.export({}), subject="exported")
    trainee.close()
    assert told == [8, 16, 24]

    with Store.open(DataFolder(tmp_path)) as store:
        store.families.add(BANDITS)
        store.families.admit(BANDITS.name, spaces=bandit_spaces(3).to_json(), random_return=2.5, reference_return=3.5)
        arrays = as_arrays(file.tensors)
        store.initializations.publish(
            arrays,
            metadata=header_to_metadata(file.header, arrays),
            scores=(),
            provenance={"learner": file.header.learner, "config": file.header.config},
            reason="test",
            parent=None,
        )
        (stored,) = score_version(
            store,
            Settings(data_dir=tmp_path),
            version=1,
            families=[BANDITS.name],
            trials=NUM_TASKS,
            progress=lambda _: None,
        )
    assert stored.num_trials == len(foreground.adapted)
    assert stored.mean_return == pytest.approx(float(foreground.beside["trial_return"].mean()))
    assert foreground.unadapted is not None
    means = float(foreground.unadapted.mean()), float(foreground.adapted.mean())
    assert (stored.episodes[0].mean_return, stored.episodes[-1].mean_return) == pytest.approx(means)


def test_as_many_tasks_are_scored_as_were_asked_for_and_they_are_the_first_ones() -> None:
    trainee = RL2Assignment(BANDITS, WorkerLimits(), given=SMALL).begin(2)
    some = trainee.score(10, progress=lambda _: None)
    whole = trainee.score(16, progress=lambda _: None)
    trainee.close()
    assert whole.unadapted is not None
    assert some.unadapted is not None
    assert len(whole.adapted) == 16, "two batches of 8"
    assert some.adapted.tolist() == whole.adapted[:10].tolist()
    assert some.unadapted.tolist() == whole.unadapted[:10].tolist()
    assert some.beside["trial_return"].tolist() == whole.beside["trial_return"][:10].tolist()
