"""Few-shot families of the made-up glyphs in a session of the trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agent.trainer.jobs.admit import admit
from agent.trainer.session import TrainerSession
from envs.declaration import few_shot_from_declaration
from memory.records import Family, JobOutcome
from memory.store import Store
from tests.agent.trainer.conftest import settings_for

GLYPHS = {"ways": 3, "queries": 2, "alphabets": 4, "characters": 6, "drawers": 4, "size": 16}
FEW_TASKS = {"trials_tensor": 64, "trials_gymnasium": 4, "trials_few_shot": 16}


def small_settings(folder: Path, **sections: Any) -> Any:
    return settings_for(folder, **{"evaluation": FEW_TASKS, "consolidation": FEW_TASKS, **sections})


def feed(session: TrainerSession, entry: str, learner: str, *, name: str | None = None, **kwargs: Any) -> Family:
    spec = few_shot_from_declaration(entry, learner=learner, name=name, kwargs=kwargs)
    family = session.store.families.add(spec)
    outcome, detail = admit(session, family)
    assert (outcome, detail.get("state")) == (JobOutcome.SUCCEEDED, "active"), detail
    return session.store.families.get(spec.name)


def feed_glyphs(session: TrainerSession, learner: str = "protonet", **kwargs: Any) -> Family:
    return feed(session, "glyphs", learner, **{**GLYPHS, **kwargs})


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def published(store: Store, version: int) -> dict[str, Tensor]:
    arrays = store.checkpoints.load_parameters(store.initializations.get(version).file)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
