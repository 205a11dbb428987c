"""Processes that train one learner together: what they step by, and what becomes of a member they train."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from agent.learners.embedding.embeddings import EmbeddingConfig
from agent.learners.embedding.training import Training, TrainingConfig
from agent.learners.team import Team
from agent.policies.image_classifier_training import FewShotRecipe, FewShotTrainingError, train_member, train_policy
from envs.few_shot.images.classes import read_image_folder
from envs.few_shot.images.folder import ImageTaskConfig
from envs.few_shot.images.glyphs import GlyphConfig, draw_glyphs
from tests.agent.learners.image_folders import write_images

CLASSES = draw_glyphs(GlyphConfig(alphabets=2, characters=6, drawers=4, size=40))
PAIR = FewShotRecipe(
    processes=2,
    updates=3,
    tasks=ImageTaskConfig(ways=5, queries=2, size=20, orientations=8),
    embedding=EmbeddingConfig(channels=(8, 8)),
)


class ThreadTeam(Team):
    """A team of threads, which need no process group: they hand one another what is to be summed."""

    def __init__(self, *, place: int, handed: list[Tensor], barrier: threading.Barrier) -> None:
        super().__init__(place=place, size=len(handed))
        self._handed = handed
        self._barrier = barrier

    def _sum(self, flat: Tensor) -> Tensor:
        self._handed[self.place] = flat.clone()
        self._barrier.wait(timeout=30)
        total = torch.stack(self._handed).sum(0)
        self._barrier.wait(timeout=30)
        return total


def thread_teams(size: int) -> Sequence[ThreadTeam]:
    handed, barrier = [torch.zeros(0)] * size, threading.Barrier(size)
    return [ThreadTeam(place=place, handed=handed, barrier=barrier) for place in range(size)]


def test_a_team_steps_by_the_mean_gradient_of_its_parts() -> None:
    # The loss is a mean over examples, so the mean of two halves' gradients is the gradient of the whole.
    x, y = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.arange(8.0)

    def trained(team: Team, part: slice) -> list[Tensor]:
        module = nn.Linear(3, 1)
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
        training = Training(module, TrainingConfig(learning_rate=0.1))
        training.team = team
        for _ in range(3):
            training.step((module(x[part])[:, 0] - y[part]).square().mean())
        return [parameter.detach() for parameter in module.parameters()]

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(trained, thread_teams(2), (slice(0, 4), slice(4, 8))))
    whole = trained(Team(), slice(0, 8))
    for first, second, expected in zip(*found, whole, strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(first, expected)


def test_what_the_first_says_counts_and_alone_nothing_changes() -> None:
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda team: team.first_of(10 + team.place), thread_teams(2))) == [10, 10]
    assert Team().first_of(7) == 7
    tensor = torch.tensor([1.0, 2.0])
    Team().mean_([tensor])
    assert tensor.tolist() == [1.0, 2.0]


def test_statistics_are_shared_in_the_end() -> None:
    def shared(team: Team) -> Training[nn.BatchNorm1d]:
        training = Training(nn.BatchNorm1d(2), TrainingConfig())
        training.team = team
        for module in (training.trained, training.averaged):
            module.running_mean.fill_(float(team.place))
        training.share_statistics()
        return training

    with ThreadPoolExecutor(2) as threads:
        for training in threads.map(shared, thread_teams(2)):
            assert training.trained.running_mean.tolist() == [0.5, 0.5]
            assert training.averaged.running_mean.tolist() == [0.5, 0.5]
            assert training.averaged.num_batches_tracked.item() == 0


def test_processes_train_what_threads_train_and_each_takes_tasks_of_its_own(tmp_path: Path) -> None:
    write_images(CLASSES, tmp_path)
    policy, classes = train_policy([tmp_path], PAIR, seed=3), read_image_folder(tmp_path)

    def member(team: Team) -> dict[str, Tensor]:
        return train_member(classes, PAIR, seed=3, member=0, report=lambda _: None, team=team).initialization()

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(member, thread_teams(2))
    alone = train_member(classes, PAIR, seed=3, member=0, report=lambda _: None).initialization()
    made = policy.members[0].initialization()
    assert made.keys() == first.keys()
    for name, tensor in made.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(tensor, first[name])
    assert not torch.allclose(
        made["parameters.embedding.layers.0.weight"], alone["parameters.embedding.layers.0.weight"]
    )


@pytest.mark.parametrize("moment", ["joined", "train_member"])
def test_where_one_of_a_team_fails_it_is_told_and_nobody_waits(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(CLASSES, tmp_path)
    start = subprocess.Popen

    def second_dies(command: list[str], **kwargs: object) -> subprocess.Popen[str]:
        # Before it meets the first, which goes on waiting for it, or after.
        dying = (
            "import io, json, sys; import agent.policies.image_classifier_training as training\n"
            "asked = sys.stdin.read()\n"
            "def out_of_luck(*args, **kwargs): raise SystemExit('out of luck')\n"
            f"if json.loads(asked)['place']: training.{moment} = out_of_luck\n"
            "sys.stdin = io.StringIO(asked); training.main()"
        )
        return start([sys.executable, "-c", dying], **kwargs)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr("agent.policies.image_classifier_training.subprocess.Popen", second_dies)
    with pytest.raises(FewShotTrainingError, match="out of luck"):
        train_policy([tmp_path], replace(PAIR, updates=1_000_000), seed=0)


def test_a_recipe_says_how_many_processes_a_policy_was_trained_by(tmp_path: Path) -> None:
    write_images(CLASSES, tmp_path)
    policy = train_policy([tmp_path], replace(PAIR, updates=1, processes=1), seed=0)
    assert policy.provenance["recipe"]["processes"] == 1
