"""The benchmark's short cut for errors within an alphabet gives what the policy itself answers."""

from __future__ import annotations

import pytest
import torch

from agent.learners.embedding.embeddings import EmbeddingConfig
from agent.learners.embedding.prototypical import Distance, PrototypicalConfig, PrototypicalLearner
from agent.policies.image_classifier import FewShotPolicy
from agent.policies.views import ViewConfig
from benchmarks.fewshot.alphabets import OneShotTask, one_shot_errors, task_scores
from envs.few_shot.images.glyphs import GlyphConfig, draw_glyphs
from envs.few_shot.tasks import FewShotShapes

GLYPHS = draw_glyphs(GlyphConfig(alphabets=1, characters=6, drawers=4, size=40))
VIEWS = {
    "each against its like": ViewConfig(count=3, orientations=2),
    "aligned": ViewConfig(count=4, orientations=2, is_aligned=True),
}


def policy(views: ViewConfig, prior: float | None, distance: Distance = Distance.EUCLIDEAN) -> FewShotPolicy:
    shapes = FewShotShapes(input_shape=(1, 20, 20), output_size=5, is_classification=True)
    embedding = EmbeddingConfig(channels=(8, 8))
    config = PrototypicalConfig(embedding=embedding, distance=distance, statistics_prior=prior)
    members = [PrototypicalLearner(shapes, config, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    return FewShotPolicy(members, views=views, ink_extent=0.6)


@pytest.mark.parametrize("views", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("prior", [None, 5.0])
@pytest.mark.parametrize("distance", [Distance.EUCLIDEAN, Distance.TOLERANT])
def test_scores_of_many_tasks_at_once_are_those_of_the_policy(
    views: ViewConfig, prior: float | None, distance: Distance
) -> None:
    asked = policy(views, prior, distance)
    shown, queries = torch.tensor([1, 5, 9, 13]), torch.tensor([0, 6, 11, 15])
    expected = asked.adapt(GLYPHS.images[shown], torch.arange(4)).scores(GLYPHS.images)
    tasks = [OneShotTask(support=shown, queries=queries), OneShotTask(support=shown.flip(0), queries=queries)]
    found = task_scores(asked, GLYPHS.images, shown, tasks)
    torch.testing.assert_close(found[0], expected[queries], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found[1], expected[queries].flip(1), rtol=1e-4, atol=1e-3)


def test_a_policy_that_learned_nothing_errs_less_than_chance_and_more_than_never() -> None:
    errors = one_shot_errors(policy(VIEWS["aligned"], 5.0), GLYPHS, ways=6, runs=40)
    assert {name: len(found) for name, found in errors.items()} == {"one drawer": 40, "any drawers": 40}
    assert all(0.0 < float(found.mean()) < 5 / 6 for found in errors.values())
