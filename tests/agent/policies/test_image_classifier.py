"""A policy of several members and views: what it answers, how it is kept, how it is trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agent.learners.embedding.embeddings import EmbeddingConfig
from agent.learners.embedding.prototypical import PrototypicalConfig, PrototypicalLearner
from agent.learners.embedding.versa import VersaConfig, VersaLearner
from agent.learners.factory import build
from agent.learners.gradient.maml import MAMLConfig
from agent.learners.gradient.meta_sgd import MetaSGDConfig
from agent.learners.gradient.networks import NetworkConfig
from agent.learners.gradient.platipus import PlatipusConfig
from agent.learners.gradient.reptile import ReptileConfig
from agent.learners.protocol import FewShotLearner
from agent.policies.image_classifier import (
    FewShotPolicy,
    FewShotPolicyError,
)
from agent.policies.image_classifier_training import (
    FewShotRecipe,
    MemberProgress,
    train_member,
    train_policy,
    updates_in_time,
)
from agent.policies.published_classifiers import few_shot_from_bytes, load_few_shot
from agent.policies.version_file import PolicyFileError, encode_version
from agent.policies.version_header import VersionHeader
from agent.policies.views import ViewConfig
from envs.errors import ImageReadError
from envs.few_shot.images.classes import ImageClasses
from envs.few_shot.images.folder import ImageFamily, ImageTaskConfig
from envs.few_shot.images.glyphs import GlyphConfig, draw_glyphs
from envs.few_shot.images.strokes import StrokeConfig
from envs.few_shot.images.warps import WarpConfig
from envs.few_shot.tasks import FewShotShapes
from tests.agent.learners.image_folders import write_images

GLYPHS = GlyphConfig(alphabets=3, characters=6, drawers=4, size=40)
SMALL = FewShotRecipe(
    members=2,
    updates=6,
    tasks=ImageTaskConfig(ways=5, queries=2, size=20, within_group=0.5, orientations=8),
    embedding=EmbeddingConfig(channels=(8, 8)),
)


def member(seed: int = 0, size: int = 20) -> PrototypicalLearner:
    shapes = FewShotShapes(input_shape=(1, size, size), output_size=5, is_classification=True)
    config = PrototypicalConfig(embedding=EmbeddingConfig(channels=(8, 8)))
    return PrototypicalLearner(shapes, config, generator=torch.Generator().manual_seed(seed))


def versa_member() -> VersaLearner:
    shapes = FewShotShapes(input_shape=(1, 20, 20), output_size=5, is_classification=True)
    config = VersaConfig(embedding=EmbeddingConfig(channels=(8, 8)), num_features=8, hidden_size=8)
    return VersaLearner(shapes, config, generator=torch.Generator().manual_seed(0))


def adapting_members() -> Iterator[FewShotLearner]:
    """Learners whose network normalises by its batch."""
    shapes = FewShotShapes(input_shape=(1, 20, 20), output_size=5, is_classification=True)
    network = NetworkConfig(channels=(8, 8))
    configs = {
        "maml": MAMLConfig(network=network),
        "meta-sgd": MetaSGDConfig(network=network),
        "reptile": ReptileConfig(network=network, num_adapt_steps=2),
        "platipus": PlatipusConfig(network=network),
    }
    for name, config in configs.items():
        yield build(name, shapes, config, generator=torch.Generator().manual_seed(0))


def classes() -> ImageClasses:
    return draw_glyphs(GLYPHS)


def one_task(ways: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    glyphs = classes()
    starts = [found.start for found in glyphs.classes[:ways]]
    support = glyphs.images[starts]
    queries = glyphs.images[[start + 1 for start in starts]]
    return support, torch.arange(ways), queries


def test_with_one_view_and_one_member_it_is_that_learner() -> None:
    learner, (support, labels, queries) = member(), one_task()
    policy = FewShotPolicy([learner], views=ViewConfig(count=1), ink_extent=0.6)
    logits = learner.adapt(policy.look(support, 1.0), labels.unsqueeze(0))(policy.look(queries, 1.0))[0]
    torch.testing.assert_close(policy.adapt(support, labels).scores(queries), logits, rtol=1e-4, atol=1e-3)


def test_scores_are_the_mean_over_members_and_views() -> None:
    members, (support, labels, queries) = [member(0), member(1)], one_task()
    views = ViewConfig(count=3, orientations=2)
    together = FewShotPolicy(members, views=views).adapt(support, labels).scores(queries)
    alone = [FewShotPolicy([one], views=views).adapt(support, labels).scores(queries) for one in members]
    torch.testing.assert_close(together, (alone[0] + alone[1]) / 2, rtol=1e-4, atol=1e-3)


def test_aligned_views_count_the_best_match_within_each_orientation() -> None:
    learner, (support, labels, queries) = member(), one_task()
    views = ViewConfig(count=6, orientations=2, is_aligned=True)
    policy = FewShotPolicy([learner], views=views)
    adapted = policy.adapt(support, labels)
    shown, asked = policy.look(support, adapted.zoom), policy.look(queries, adapted.zoom)
    by_pair = {
        (u, v): learner.adapt(shown[v : v + 1], labels[None])(asked[u : u + 1])[0] for u in range(6) for v in range(6)
    }
    each = [
        torch.stack([by_pair[u, v] for u in range(own, 6, 2) for v in range(own, 6, 2)]).amax(0) for own in range(2)
    ]
    expected = torch.stack(each).mean(0)
    torch.testing.assert_close(adapted.scores(queries), expected, rtol=1e-4, atol=1e-3)


def test_learners_that_compare_no_features_are_asked_about_aligned_views_one_by_one() -> None:
    learner, (support, labels, queries) = versa_member(), one_task()
    scores = [
        FewShotPolicy([learner], views=ViewConfig(count=4, orientations=2, is_aligned=aligned))
        .adapt(support, labels)
        .scores(queries)
        for aligned in (False, True)
    ]
    assert torch.equal(scores[0], scores[1])


def test_members_that_compare_features_and_others_answer_together() -> None:
    members, (support, labels, queries) = [member(), versa_member()], one_task()
    views = ViewConfig(count=4, orientations=2, is_aligned=True)
    together = FewShotPolicy(members, views=views).adapt(support, labels).scores(queries)
    alone = [FewShotPolicy([one], views=views).adapt(support, labels).scores(queries) for one in members]
    torch.testing.assert_close(together, (alone[0] + alone[1]) / 2, rtol=1e-4, atol=1e-3)


def test_aligned_views_show_each_orientation_equally_often() -> None:
    with pytest.raises(ValueError, match="equally often"):
        ViewConfig(count=7, orientations=2, is_aligned=True)
    for nothing in ({"count": 0}, {"orientations": 0}):
        with pytest.raises(ValueError, match="at least one of each"):
            ViewConfig(**nothing)


def test_views_show_support_and_queries_in_the_same_orientation() -> None:
    support, _, _ = one_task()
    policy = FewShotPolicy([member()], views=ViewConfig(count=6, orientations=4))
    seen = policy.look(support, 1.0)
    assert seen.shape == (6, 6, 1, 20, 20)
    for turn in range(4):
        torch.testing.assert_close(seen[turn], torch.rot90(seen[0], turn, (2, 3)), atol=1e-5, rtol=0)
    assert not torch.equal(seen[4], seen[0])
    assert torch.equal(policy.look(support[2:3], 1.0)[:, 0], seen[:, 2])


def test_probabilities_sum_to_one_and_know_the_support_images_themselves() -> None:
    support, labels, _ = one_task()
    probabilities = FewShotPolicy([member()]).adapt(support, labels).probabilities(support)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(6))
    assert torch.equal(probabilities.argmax(1), labels)


@pytest.mark.parametrize("learner", [member(), *adapting_members()], ids=lambda learner: learner.to_meta()["learner"])
def test_each_query_is_answered_on_its_own(learner: FewShotLearner) -> None:
    support, labels, queries = one_task(ways=5)
    adapted = FewShotPolicy([learner]).adapt(support, labels)
    torch.testing.assert_close(adapted.scores(queries)[2:3], adapted.scores(queries[2:3]), rtol=1e-3, atol=1e-3)


def test_several_shots_and_classes_in_any_order_are_taken() -> None:
    glyphs = classes()
    rows = [glyphs.classes[c].start + e for c in (4, 2, 4, 9, 2, 9) for e in (0, 1)]
    labels = torch.tensor([0, 1, 0, 2, 1, 2]).repeat_interleave(2)
    assert FewShotPolicy([member()]).adapt(glyphs.images[rows], labels).scores(glyphs.images[:3]).shape == (3, 3)


def test_images_of_another_scale_are_brought_to_the_learned_one() -> None:
    glyphs = draw_glyphs(GlyphConfig(alphabets=1, characters=5, drawers=2, size=120)).images
    shrunk = torch.zeros_like(glyphs)
    shrunk[:, 40:80, 40:80] = glyphs[:, ::3, ::3]
    policy = FewShotPolicy([member()], ink_extent=0.65)
    labels = torch.arange(5)
    assert policy.adapt(glyphs[::2], labels).zoom == 1.0
    zoom = policy.adapt(shrunk[::2], labels).zoom
    assert zoom == pytest.approx(1 / 3, rel=0.35)
    there, here = policy.look(glyphs, 1.0)[0], policy.look(shrunk, zoom)[0]
    assert float(here.mean()) == pytest.approx(float(there.mean()), rel=0.5)


def test_it_reads_back_what_it_wrote_and_writes_the_same_again(tmp_path: Path) -> None:
    support, labels, queries = one_task()
    policy = FewShotPolicy([member(0), member(1)], ink_extent=0.61, provenance={"seed": 3})
    policy.save(tmp_path / "policy.safetensors")
    found = load_few_shot(tmp_path / "policy.safetensors")
    assert torch.equal(found.adapt(support, labels).scores(queries), policy.adapt(support, labels).scores(queries))
    assert (found.ink_extent, found.provenance, found.views) == (0.61, {"seed": 3}, policy.views)
    assert found.to_bytes() == policy.to_bytes()


def test_a_foreign_file_is_refused() -> None:
    with pytest.raises(PolicyFileError, match="not a safetensors file"):
        few_shot_from_bytes(b"nonsense", subject="nonsense")
    header = VersionHeader(learner="rl2", config={})
    with pytest.raises(PolicyFileError, match="no few-shot policy"):
        few_shot_from_bytes(encode_version(header, {"weight": torch.zeros(2)}), subject="foreign")


def test_a_device_that_is_full_is_not_called_a_damaged_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def restore_nothing(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    content = FewShotPolicy([member()]).to_bytes()
    monkeypatch.setattr("agent.policies.published_classifiers.restore", restore_nothing)
    with pytest.raises(torch.OutOfMemoryError):
        few_shot_from_bytes(content, subject="whole")


def test_members_of_different_sizes_are_refused() -> None:
    with pytest.raises(FewShotPolicyError, match="one size"):
        FewShotPolicy([member(size=20), member(size=24)])


def test_the_same_seed_trains_the_same_member_and_another_seed_another() -> None:
    reports: list[MemberProgress] = []
    trained = [
        train_member(classes(), SMALL, seed=seed, member=number, report=reports.append).initialization()
        for seed, number in ((1, 0), (1, 0), (1, 1), (2, 0))
    ]
    name = "parameters.embedding.layers.0.weight"
    assert all(torch.equal(trained[0][key], trained[1][key]) for key in trained[0])
    assert not torch.equal(trained[0][name], trained[2][name])
    assert not torch.equal(trained[0][name], trained[3][name])
    assert [(report.update, report.planned_updates) for report in reports] == [(6, 6)] * 4


def test_too_little_time_means_fewer_updates() -> None:
    recipe = FewShotRecipe(updates=1_000_000, minutes=0.002, tasks=SMALL.tasks, embedding=SMALL.embedding)
    learner = train_member(classes(), recipe, seed=0, member=0, report=lambda _: None)
    assert learner.num_updates < 1000


def test_updates_are_as_many_as_the_time_allows_at_the_pace_so_far() -> None:
    recipe = FewShotRecipe(updates=1_000, minutes=1.0)
    assert updates_in_time(recipe, done=20, elapsed_s=0.5) == 1_000
    assert updates_in_time(recipe, done=20, elapsed_s=4.0) == 300
    assert updates_in_time(recipe, done=290, elapsed_s=61.0) == 290


def test_a_new_plan_moves_the_learning_rate() -> None:
    learner = SMALL.learner(ImageFamily(SMALL.tasks, training=classes()), seed=0)
    learner.plan_updates(400)
    assert learner.to_meta()["config"]["training"]["planned_updates"] == 400
    assert learner.config.training.rate(200) == pytest.approx(0.51 * SMALL.learning_rate)


def test_members_are_trained_side_by_side_in_processes_of_their_own(tmp_path: Path) -> None:
    write_images(classes(), tmp_path)
    reports: list[MemberProgress] = []
    recipe = FewShotRecipe(
        members=2,
        processes=2,
        updates=4,
        tasks=ImageTaskConfig(ways=5, queries=2, size=20, warp=WarpConfig(), strokes=StrokeConfig(chance=0.5)),
        embedding=SMALL.embedding,
    )
    policy = train_policy([tmp_path], recipe, hold_out=["alphabet01"], seed=5, report=reports.append)
    assert {report.member for report in reports} == {0, 1}
    assert policy.provenance["groups"] == {"alphabet00": 6, "alphabet02": 6}
    assert policy.provenance["updates"] == [4, 4]
    assert policy.provenance["recipe"]["embedding"]["kind"] == "conv4"
    assert policy.provenance["recipe"]["tasks"]["strokes"] == {"chance": 0.5}
    assert policy.views.is_aligned
    with pytest.raises(ImageReadError, match="no group of that name"):
        train_policy([tmp_path], recipe, hold_out=["Klingon"])


class FixedWays(PrototypicalLearner):
    """Stands for a learner with a head of so many classes, as gradient-based ones have."""

    def to_meta(self) -> dict[str, Any]:
        return {**super().to_meta(), "learner": "maml"}


def test_a_learner_of_fixed_ways_refuses_others() -> None:
    shapes = FewShotShapes(input_shape=(1, 20, 20), output_size=5, is_classification=True)
    config = PrototypicalConfig(embedding=EmbeddingConfig(channels=(8, 8)))
    policy = FewShotPolicy([FixedWays(shapes, config, generator=torch.Generator().manual_seed(0))])
    support, labels, queries = one_task(ways=5)
    assert policy.adapt(support, labels).scores(queries).shape == (5, 5)
    support, labels, _ = one_task(ways=6)
    with pytest.raises(FewShotPolicyError, match="was made for 5"):
        policy.adapt(support, labels)
