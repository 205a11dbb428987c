"""The benchmark's short cut for errors within an alphabet gives what the policy itself answers."""

from __future__ import annotations

import pytest
import torch

from agent.few_shot_matching import SecondLookConfig
from agent.few_shot_policy import FewShotPolicy, ViewConfig
from agent.learners.embeddings import EmbeddingConfig
from agent.learners.prototypical import PrototypicalConfig, PrototypicalLearner
from agent.learners.relation import RelationConfig, RelationNetwork
from benchmarks.fewshot import one_shot_errors, scores_of_runs
from envs.few_shot.glyphs import GlyphConfig, draw_glyphs
from envs.few_shot.tasks import FewShotShapes

GLYPHS = draw_glyphs(GlyphConfig(alphabets=1, characters=6, drawers=4, size=40))
VIEWS = {
    "each against its like": ViewConfig(count=3, orientations=2),
    "aligned": ViewConfig(count=4, orientations=2, is_aligned=True),
}


def policy(views: ViewConfig, prior: float | None, *, looks_again: bool = False) -> FewShotPolicy:
    shapes = FewShotShapes(input_shape=(1, 20, 20), output_size=5, is_classification=True)
    config = PrototypicalConfig(embedding=EmbeddingConfig(channels=(8, 8)), statistics_prior=prior)
    members = [PrototypicalLearner(shapes, config, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    relation = RelationConfig(trunk=EmbeddingConfig(channels=(8,)), width=6, last_width=6)
    generator = torch.Generator().manual_seed(2)
    relations = [RelationNetwork((1, 20, 20), relation, generator=generator).eval() for _ in members]
    second_look = SecondLookConfig(candidates=3, weight=20.0)
    return FewShotPolicy(
        members, relations=relations if looks_again else (), second_look=second_look, views=views, ink_extent=0.6
    )


@pytest.mark.parametrize(
    ("views", "looks_again"), [("each against its like", False), ("aligned", False), ("aligned", True)]
)
@pytest.mark.parametrize("prior", [None, 5.0])
def test_scores_taken_together_are_those_of_the_policy(views: str, looks_again: bool, prior: float | None) -> None:
    asked = policy(VIEWS[views], prior, looks_again=looks_again)
    shown, queries = torch.tensor([1, 5, 9, 13, 17]), torch.tensor([[2, 6, 10, 14, 18], [21, 22, 3, 7, 8]])
    expected = asked.adapt(GLYPHS.images[shown], torch.arange(5)).scores(GLYPHS.images[queries.flatten()])
    first, found = scores_of_runs(asked, GLYPHS.images, shown, queries, shown.expand(2, -1))
    torch.testing.assert_close(found.flatten(0, 1), expected, rtol=1e-4, atol=1e-3)
    assert torch.equal(first, found) != looks_again


def test_a_policy_that_learned_nothing_errs_less_than_chance_and_more_than_never() -> None:
    errors = one_shot_errors(policy(VIEWS["aligned"], 5.0), GLYPHS, ways=6, runs=40)
    kinds = {"one drawer", "one drawer, first look", "any drawers", "any drawers, first look"}
    assert {name: len(found) for name, found in errors.items()} == dict.fromkeys(kinds, 40)
    assert all(0.0 < float(found.mean()) < 5 / 6 for found in errors.values())
