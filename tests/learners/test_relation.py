"""The relation network and the second look that it takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from agent.few_shot_matching import (
    Matches,
    SecondLookConfig,
    best_matches,
    class_maps,
    reconsidered,
    relations_of,
)
from agent.few_shot_policy import FewShotPolicy, FewShotPolicyError, ViewConfig
from agent.few_shot_training import FewShotRecipe, train_member
from agent.learners.embedding_training import TrainingConfig
from agent.learners.embeddings import EmbeddingConfig, EmbeddingKind
from agent.learners.prototypical import PrototypicalConfig, PrototypicalLearner
from agent.learners.relation import RelationConfig, RelationNetwork, RelationTraining, draw_candidates
from envs.few_shot.glyphs import GlyphConfig, draw_glyphs
from envs.few_shot.image_folder import ImageTaskConfig
from envs.few_shot.tasks import FewShotShapes

SHAPE = (1, 20, 20)
TRUNK = EmbeddingConfig(kind=EmbeddingKind.RESIDUAL, channels=(4, 6))
VIEWS = ViewConfig(count=4, orientations=2, is_aligned=True)
GLYPHS = draw_glyphs(GlyphConfig(alphabets=1, characters=6, drawers=4, size=40))


def relation_network(seed: int = 0) -> RelationNetwork:
    """Untrained, of statistics that some images have moved."""
    config = RelationConfig(trunk=TRUNK, width=6, last_width=8)
    network = RelationNetwork(SHAPE, config, generator=torch.Generator().manual_seed(seed))
    images = torch.rand(32, *SHAPE, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for _ in range(20):
            maps = network.maps(images)
            network.relate(maps, maps.roll(1, 0))
    return network.eval()


def learner(seed: int = 0) -> PrototypicalLearner:
    shapes = FewShotShapes(input_shape=SHAPE, output_size=5, is_classification=True)
    config = PrototypicalConfig(embedding=EmbeddingConfig(channels=(8, 8)))
    return PrototypicalLearner(shapes, config, generator=torch.Generator().manual_seed(seed))


def policy(second_look: SecondLookConfig | None = None) -> FewShotPolicy:
    return FewShotPolicy(
        [learner(0), learner(1)],
        relations=[relation_network(0), relation_network(1)],
        second_look=second_look,
        views=VIEWS,
        ink_extent=0.6,
    )


def support(shots: int = 1) -> tuple[Tensor, Tensor]:
    starts = torch.tensor([found.start for found in GLYPHS.classes])
    rows = (starts.unsqueeze(1) + torch.arange(shots)).flatten()
    return GLYPHS.images[rows], torch.arange(len(starts)).repeat_interleave(shots)


def test_it_does_not_matter_which_of_two_images_is_asked_about() -> None:
    network, images = relation_network(), torch.rand(6, *SHAPE)
    maps = network.maps(images)
    one_way, other_way = network.relate(maps[:3], maps[3:]), network.relate(maps[3:], maps[:3])
    torch.testing.assert_close(one_way, other_way)
    assert one_way.unique().numel() == 3


def test_its_first_layers_begin_as_those_of_the_embedding() -> None:
    trained = learner().network().embedding
    config = RelationConfig(trunk=EmbeddingConfig(channels=(8,)))
    network = RelationNetwork(SHAPE, config, generator=torch.Generator().manual_seed(3))
    network.begin_from(trained)
    assert torch.equal(network.trunk.layers[0].weight, trained.layers[0].weight)
    assert network.trunk.layers[0].weight is not trained.layers[0].weight


def test_a_query_is_held_against_its_own_class_and_its_likeliest_rivals() -> None:
    num_ways, per_class = 6, 3
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(num_ways, num_ways, generator=generator)
    logits = logits.repeat_interleave(per_class, 0).repeat_interleave(per_class, 1)
    queries = torch.arange(num_ways * per_class)
    found = draw_candidates(logits, queries, num_ways=num_ways, num_rivals=3, generator=generator)
    classes, own = found // per_class, queries // per_class
    assert (classes[:, 0] == own).all()
    assert (found[:, 0] != queries).all()
    rivals = logits[queries][:, ::per_class].scatter(1, own.unsqueeze(1), -torch.inf).argsort(1, descending=True)
    assert torch.equal(classes[:, 1:3], rivals[:, :2])
    assert all(len(set(row)) == 4 for row in classes.tolist())
    assert classes[:, 3].unique().numel() > 2
    few = draw_candidates(logits[:6, :6], torch.arange(6), num_ways=2, num_rivals=3, generator=generator)
    assert few.shape == (6, 2)


def test_it_learns_to_tell_apart_what_it_is_shown() -> None:
    generator = torch.Generator().manual_seed(0)
    kinds = torch.rand(5, *SHAPE, generator=generator)
    training = RelationTraining(
        relation_network(), TrainingConfig(learning_rate=3e-3), num_queries=15, num_rivals=3, generator=generator
    )
    accuracies = []
    for _ in range(60):
        images = kinds.repeat_interleave(3, 0) + 0.3 * torch.randn(15, *SHAPE, generator=generator)
        accuracies.append(training.update(images, torch.zeros(15, 15), num_ways=5)["accuracy"])
    assert training.num_updates == 60
    assert sum(accuracies[:3]) / 3 < 0.6
    assert sum(accuracies[-10:]) / 10 > 0.9


def test_matches_name_the_views_that_match_best() -> None:
    asked = policy()
    images, labels = support()
    predictor = asked.adapt(images, labels).predictors[0]
    views = asked.look(GLYPHS.images[[1, 6]], 1.0)
    features = predictor.embed(views)  # type: ignore[attr-defined]
    found = best_matches(predictor, features, orientations=2)  # type: ignore[arg-type]
    for orientation in range(2):
        own, shown = features[orientation::2], predictor.prototypes[orientation::2]  # type: ignore[attr-defined]
        logits = torch.stack([predictor.network.logits(u.expand(2, -1, -1), shown) for u in own])  # type: ignore[attr-defined]
        best = logits.flatten(0, 1).max(0)
        torch.testing.assert_close(found.logits[orientation], best.values)
        assert torch.equal(2 * found.query_round[orientation] + found.support_round[orientation], best.indices)


def test_relations_are_the_mean_over_orientations_in_the_matching_views() -> None:
    network, generator = relation_network(), torch.Generator().manual_seed(1)
    views, shown = torch.rand(4, 3, *SHAPE, generator=generator), torch.rand(4, 2, *SHAPE, generator=generator)
    candidates = torch.tensor([[1, 0], [0, 1], [1, 0]])
    rounds = torch.randint(2, (2, 2, 3, 2), generator=generator)
    matches = Matches(logits=torch.zeros(2, 3, 2), query_round=rounds[0], support_round=rounds[1])
    classes = class_maps(network, shown, torch.tensor([0, 1]))
    found = relations_of(network, classes, views, matches, candidates)
    for query in range(3):
        for place, candidate in enumerate(candidates[query].tolist()):
            each = [
                network.relate(
                    network.maps(views[2 * int(rounds[0, o, query, place]) + o, query].unsqueeze(0)),
                    network.maps(shown[2 * int(rounds[1, o, query, place]) + o, candidate].unsqueeze(0)),
                )
                for o in range(2)
            ]
            torch.testing.assert_close(found[query, place], torch.cat(each).mean(), rtol=1e-4, atol=1e-5)


def test_a_class_is_the_mean_map_of_its_examples() -> None:
    network, images = relation_network(), torch.rand(1, 3, *SHAPE)
    maps = network.maps(images[0])
    found = class_maps(network, images, torch.tensor([1, 0, 1]))
    torch.testing.assert_close(found[0], torch.stack([maps[1], (maps[0] + maps[2]) / 2]))


def test_what_was_not_looked_at_overtakes_nothing_that_was() -> None:
    scores, candidates = torch.tensor([[3.0, 2.5, 2.0, 1.0]]), torch.tensor([[0, 1]])
    found = reconsidered(scores, candidates, torch.tensor([[-4.0, 2.0]]), weight=0.5)
    assert found.tolist() == [[0.0, 2.5, -1.0, -2.0]]
    assert torch.equal(reconsidered(scores, candidates, torch.zeros(1, 2), weight=0.5), scores)


def test_a_second_look_of_no_weight_changes_nothing_and_one_of_weight_does() -> None:
    images, labels = support(shots=2)
    queries = GLYPHS.images[[3, 7, 11, 15, 19, 23]]
    plain = FewShotPolicy([learner(0), learner(1)], views=VIEWS, ink_extent=0.6).adapt(images, labels).scores(queries)
    for weight in (0.0, 50.0):
        found = policy(SecondLookConfig(candidates=3, weight=weight)).adapt(images, labels).scores(queries)
        assert torch.equal(found, plain) == (weight == 0.0)


def test_each_query_is_looked_at_on_its_own() -> None:
    adapted = policy(SecondLookConfig(candidates=3, weight=5.0)).adapt(*support())
    together = adapted.scores(GLYPHS.images)
    torch.testing.assert_close(adapted.scores(GLYPHS.images[5:6]), together[5:6], rtol=1e-4, atol=1e-4)


def test_it_is_read_back_as_it_was_written() -> None:
    asked = policy(SecondLookConfig(candidates=2, weight=3.0))
    found = FewShotPolicy.from_bytes(asked.to_bytes(), subject="it")
    assert found.second_look == asked.second_look
    assert found.to_bytes() == asked.to_bytes()
    queries = GLYPHS.images[[2, 9]]
    assert torch.equal(found.adapt(*support()).scores(queries), asked.adapt(*support()).scores(queries))


def test_relations_that_do_not_fit_are_refused() -> None:
    with pytest.raises(FewShotPolicyError, match="one network a learner"):
        FewShotPolicy([learner(0), learner(1)], relations=[relation_network()], views=VIEWS)
    with pytest.raises(FewShotPolicyError, match="aligned views"):
        FewShotPolicy([learner(0)], relations=[relation_network()])


def test_equal_seeds_train_equal_relations_and_none_is_trained_where_none_is_wanted() -> None:
    recipe = FewShotRecipe(
        updates=3,
        relation_updates=3,
        tasks=ImageTaskConfig(ways=4, queries=2, size=20),
        embedding=EmbeddingConfig(channels=(8, 8)),
    )
    trained = [train_member(GLYPHS, recipe, seed=4, member=0, report=lambda _: None).relation for _ in range(2)]
    tensors = [network.to_tensors() for network in trained if network is not None]
    assert len(tensors) == 2
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    alone = train_member(GLYPHS, replace(recipe, relation_updates=0), seed=4, member=0, report=lambda _: None)
    assert alone.relation is None
