"""A GPU gives what a CPU gives. Skipped without one.

On both the same trials are learned from: what is drawn depends on the device's generator, so actions are greedy and
every minibatch is the whole batch.
"""

from __future__ import annotations

import gc
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from agent.learners import factory
from agent.learners.embedding.embeddings import EmbeddingConfig, EmbeddingKind
from agent.learners.embedding.matching import MatchingConfig
from agent.learners.embedding.prototypical import Distance, PrototypicalConfig, PrototypicalLearner
from agent.learners.embedding.versa import VersaConfig
from agent.learners.rl2.advantages import trial_advantages
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.cuda_graphs import NUM_EAGER_RUNS, CapturedRollout, CaptureSpace
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.minibatch import Minibatch
from agent.learners.rl2.parameters import policy_from_initialization
from agent.learners.rl2.rehearsal.rehearsal import Rehearsal
from agent.learners.rl2.rollout import Rollout, collect_trials
from agent.learners.rl2.training import RecordedTraining
from agent.learners.rl2.trials import to_records
from agent.policies.image_classifier import FewShotPolicy
from agent.policies.image_classifier_training import FewShotRecipe, MemberProgress, train_member
from agent.policies.published_classifiers import few_shot_from_bytes
from agent.policies.views import ViewConfig
from envs.default_families import TENSOR_FAMILIES
from envs.family import Split
from envs.few_shot.images.folder import ImageFamily, ImageTaskConfig
from envs.few_shot.images.glyphs import GlyphConfig, draw_glyphs
from envs.few_shot.tasks import FewShotShapes
from envs.registry import open_tasks
from envs.spaces import SpacePair
from tests.agent.learners.cases import BLOBS, CASES, blobs, generator
from tests.agent.learners.rl2.device_training import GROWING, NUM_TRIALS, assert_same_training, played_on, spec_of

DEVICE = "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

PERCEPTRON = EmbeddingConfig(kind=EmbeddingKind.MLP, channels=(16, 16))
FEW_SHOT: dict[str, tuple[str, Any]] = {
    **CASES,
    "prototypical": ("prototypical", PrototypicalConfig(embedding=PERCEPTRON)),
    "matching": ("matching", MatchingConfig(embedding=PERCEPTRON)),
    "versa": ("versa", VersaConfig(embedding=PERCEPTRON)),
}
DRAWING = {"platipus", "versa"}
"""Learners whose update draws from a generator of the device: what they adapt to is compared, not what they learn."""


def on_device(value: Any) -> Any:
    """A dataclass of tensors with its tensors on the device."""
    if isinstance(value, Tensor):
        return value.to(DEVICE)
    if is_dataclass(value) and not isinstance(value, SpacePair):
        moved = {field.name: on_device(getattr(value, field.name)) for field in fields(value)}
        return replace(value, **moved)  # type: ignore[type-var]
    return value


def learner_on(device: str, *, reads: bool = True) -> RL2Learner:
    config = RL2Config(hidden_size=16, input_size=16, reads=reads, learned_keys=reads, max_minibatches=1)
    return RL2Learner(config, device=device, seed=0)


@pytest.mark.parametrize("entry", TENSOR_FAMILIES)
@pytest.mark.parametrize("reads", [True, False], ids=["reading", "not_reading"])
def test_tasks_reads_and_log_probabilities_agree_along_the_same_actions(entry: str, reads: bool) -> None:
    learner = learner_on("cpu", reads=reads)
    trials = played_on("cpu", learner, entry)
    policy = policy_from_initialization(learner.config, learner.initialization(), [trials.spaces], device=DEVICE)
    tasks = open_tasks(spec_of(entry), None, num_trials=NUM_TRIALS, device=DEVICE)
    found = collect_trials(
        policy,
        tasks,
        first_task=0,
        split=Split.TRAINING,
        generator=torch.Generator(DEVICE).manual_seed(0),
        is_greedy=True,
    )
    valid = trials.is_valid
    assert torch.equal(found.is_valid.cpu()[: len(valid)], valid)
    for name in ("action", "reward", "log_prob", "features"):
        expected, given = getattr(trials, name)[valid], getattr(found, name).cpu()[: len(valid)][valid]
        torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4, msg=name)
    if reads:
        assert trials.inputs.read is not None
        assert found.inputs.read is not None
        given = found.inputs.read.cpu()[: len(valid)][valid]
        torch.testing.assert_close(given, trials.inputs.read[valid], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("entry", TENSOR_FAMILIES)
def test_losses_and_parameters_agree_after_an_update(entry: str) -> None:
    one, other = learner_on("cpu"), learner_on(DEVICE)
    trials = played_on("cpu", one, entry)
    other.add_family("family", trials.spaces)
    expected, found = one.update("family", trials), other.update("family", on_device(trials))
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)
    tensors = other.to_tensors()
    for name, tensor in one.to_tensors().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensors[name].cpu(), tensor, rtol=1e-3, atol=1e-4, msg=name)


def test_advantages_agree() -> None:
    drawn = torch.randn(3, 20, 6, generator=generator())
    arguments = {
        "reward": drawn[0],
        "value": drawn[1],
        "final_value": drawn[2],
        "truncated": drawn[0] > 1.0,
        "is_valid": torch.arange(20).unsqueeze(1) < torch.tensor([20, 3, 11, 1, 20, 7]),
    }
    expected = trial_advantages(**arguments, discount=0.99, gae_lambda=0.9)
    found = trial_advantages(**{k: v.to(DEVICE) for k, v in arguments.items()}, discount=0.99, gae_lambda=0.9)
    torch.testing.assert_close(found.cpu(), expected)


@pytest.mark.parametrize("case", FEW_SHOT)
def test_few_shot_learners_agree(case: str) -> None:
    name, config = FEW_SHOT[case]
    batch = blobs(4)
    learners = [factory.build(name, BLOBS, config, generator=generator(), device=device) for device in ("cpu", DEVICE)]
    if case not in DRAWING:
        expected, found = learners[0].update(batch), learners[1].update(on_device(batch))
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)
        published = learners[1].initialization()
        for key, tensor in learners[0].initialization().items():
            torch.testing.assert_close(published[key].cpu(), tensor, rtol=1e-3, atol=1e-4, msg=key)
    moved = on_device(batch)
    predicted = learners[0].adapt(batch.support_x, batch.support_y)(batch.query_x)
    found_prediction = learners[1].adapt(moved.support_x, moved.support_y)(moved.query_x)
    torch.testing.assert_close(found_prediction.cpu(), predicted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("distance", list(Distance))
def test_a_few_shot_policy_answers_alike(distance: Distance) -> None:
    glyphs = draw_glyphs(GlyphConfig(alphabets=1, characters=6, drawers=2, size=40))
    starts = torch.tensor([found.start for found in glyphs.classes])
    shapes = FewShotShapes(input_shape=(1, 20, 20), output_size=6, is_classification=True)
    config = PrototypicalConfig(embedding=EmbeddingConfig(channels=(8, 8)), distance=distance, statistics_prior=10.0)
    member = PrototypicalLearner(shapes, config, generator=generator())
    content = FewShotPolicy([member], views=ViewConfig(count=16, is_aligned=True)).to_bytes()
    scores = [
        few_shot_from_bytes(content, subject="it", device=device)
        .adapt(glyphs.images[starts], torch.arange(6))
        .scores(glyphs.images[starts + 1])
        for device in ("cpu", DEVICE)
    ]
    assert all(found.device.type == "cpu" for found in scores)
    torch.testing.assert_close(scores[1], scores[0], rtol=1e-3, atol=1e-2)


def test_a_member_of_a_few_shot_policy_learns() -> None:
    tasks = ImageTaskConfig(ways=5, queries=2, size=20, orientations=8)
    recipe = FewShotRecipe(updates=20, tasks=tasks, embedding=EmbeddingConfig(channels=(8, 8)))
    glyphs = draw_glyphs(GlyphConfig(alphabets=3, characters=6, drawers=4, size=40))
    reports: list[MemberProgress] = []
    member = train_member(glyphs, recipe, seed=0, member=0, report=reports.append, device=DEVICE)
    assert reports[-1].update == member.num_updates == recipe.updates
    assert all(math.isfinite(report.loss) for report in reports)
    fresh = recipe.learner(ImageFamily(tasks, training=glyphs), seed=0).initialization()
    for name, tensor in member.initialization().items():
        assert tensor.device.type == DEVICE
        assert not torch.equal(tensor.cpu(), fresh[name]), name


@pytest.mark.parametrize("entry", TENSOR_FAMILIES)
@pytest.mark.parametrize("max_episode_steps", [4, 60])
def test_recorded_training_is_training(entry: str, max_episode_steps: int) -> None:
    assert_same_training(replace(spec_of(entry), max_episode_steps=max_episode_steps), DEVICE)


def test_recorded_training_is_training_where_trials_grow() -> None:
    assert_same_training(spec_of(TENSOR_FAMILIES[0]), DEVICE, **GROWING)


@contextmanager
def nothing_waits() -> Iterator[None]:
    """Fails on whatever waits for the device."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("entry", TENSOR_FAMILIES)
def test_neither_a_step_nor_a_minibatch_waits_for_the_device(entry: str) -> None:
    learner = learner_on(DEVICE)
    played_on(DEVICE, learner, entry)  # libraries set themselves up
    tasks = open_tasks(spec_of(entry), None, num_trials=NUM_TRIALS, device=DEVICE)

    def step(name: str, spaces: SpacePair, minibatch: Minibatch) -> Tensor:
        with nothing_waits():
            return learner.minibatch_step(name, spaces, minibatch)

    learner.update("family", played_on(DEVICE, learner, entry), minibatch_step=step)
    first_task = torch.zeros((), dtype=torch.int64, device=DEVICE)
    with torch.no_grad(), nothing_waits():
        rollout = Rollout(
            learner.policy, tasks, first_task=first_task, split=Split.TRAINING, generator=learner.generator
        )
        for _step in range(4):
            rollout.step()
        rollout.played()


def test_a_rollout_is_recorded_after_its_first_runs() -> None:
    learner = learner_on(DEVICE)
    tasks = open_tasks(spec_of(TENSOR_FAMILIES[0]), None, num_trials=NUM_TRIALS, device=DEVICE)
    learner.add_family("family", tasks.spaces)
    rollout = CapturedRollout(
        learner.policy, tasks, generator=learner.generator, space=CaptureSpace(torch.device(DEVICE))
    )
    rewards = [rollout.collect(run * NUM_TRIALS).reward.clone() for run in range(NUM_EAGER_RUNS + 3)]
    assert not torch.equal(rewards[-1], rewards[-2])


def test_recorded_training_gives_its_memory_back_at_once() -> None:
    def recorded_bytes() -> int:
        torch.cuda.empty_cache()
        segments = torch.cuda.memory_snapshot()  # type: ignore[no-untyped-call]
        return sum(segment["total_size"] for segment in segments if segment["segment_pool_id"] != (0, 0))

    gc.collect()
    gc.disable()  # what is held in rings shall not wait for it
    try:
        before = recorded_bytes()
        learner = learner_on(DEVICE)
        tasks = open_tasks(spec_of(TENSOR_FAMILIES[0]), None, num_trials=NUM_TRIALS, device=DEVICE)
        learner.add_family("family", tasks.spaces)
        training = RecordedTraining(learner, "family", tasks)
        for run in range(NUM_EAGER_RUNS + 3):
            training.learn(training.play(run * NUM_TRIALS))
        assert recorded_bytes() > before
        training.close()
        del training, tasks
        assert recorded_bytes() == before
    finally:
        gc.enable()


@pytest.mark.parametrize("entry", TENSOR_FAMILIES)
def test_rehearsal_between_recorded_steps_brings_back_what_was_lost(entry: str) -> None:
    learner = learner_on(DEVICE)
    tasks = open_tasks(spec_of(entry), None, num_trials=NUM_TRIALS, device=DEVICE)
    learner.add_family("family", tasks.spaces)
    learner.add_family("other", tasks.spaces)
    training, rehearsal = RecordedTraining(learner, "family", tasks), Rehearsal(learner)
    for run in range(NUM_EAGER_RUNS + 2):
        training.learn(training.play(run * NUM_TRIALS))
    trials = training.play(0)
    rows = range(NUM_TRIALS)
    records = to_records(trials, rows=rows, tasks=[{}] * NUM_TRIALS, decisions=trials.decisions, slots=list(rows))
    rehearsal.add("other", records)
    with torch.no_grad():
        learner.policy.pair(tasks.spaces).get_parameter("head.bias")[0] += 2.0
    lost = rehearsal.measure("other")
    rehearsed = rehearsal.begin("family")
    for run in range(4):
        training.learn(training.play(run * NUM_TRIALS), after_minibatch=rehearsed.after_minibatch)
    assert rehearsed.num_steps > 0
    for _ in range(100):
        rehearsed.step()
    assert rehearsal.measure("other") < lost / 2
    training.close()
