"""The relation network and the second look that it takes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

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
from agent.few_shot_policy import METADATA_KEY, FewShotPolicy, FewShotPolicyError, ViewConfig, read_tensors
from agent.few_shot_training import FewShotRecipe, TrainedMember, held_against_each_other, train_member
from agent.learners.embedding_training import TrainingConfig
from agent.learners.embeddings import EmbeddingConfig, EmbeddingKind
from agent.learners.prototypical import PrototypicalConfig, PrototypicalLearner
from agent.learners.relation import RelationConfig, RelationNetwork, RelationTraining, draw_candidates
from agent.learners.state import as_arrays
from agent.learners.versa import VersaConfig, VersaLearner
from envs.family import Split
from envs.few_shot.glyphs import GlyphConfig, draw_glyphs
from envs.few_shot.image_folder import ImageFamily, ImageTaskConfig
from envs.few_shot.tasks import FewShotBatch, FewShotShapes
from memory.parameters import encode

SHAPE = (1, 20, 20)
TRUNK = EmbeddingConfig(kind=EmbeddingKind.RESIDUAL, channels=(4, 6))
VIEWS = ViewConfig(count=4, orientations=2, is_aligned=True)
GLYPHS = draw_glyphs(GlyphConfig(alphabets=1, characters=6, drawers=4, size=40))


RECIPE = FewShotRecipe(
    updates=3,
    relation_updates=3,
    tasks=ImageTaskConfig(ways=4, queries=2, size=20),
    embedding=EmbeddingConfig(channels=(8, 8)),
)


def trained_member(seed: int = 4, member: int = 0) -> TrainedMember:
    return train_member(GLYPHS, RECIPE, seed=seed, member=member, report=lambda _: None)


def described(asked: FewShotPolicy) -> dict[str, Any]:
    _, metadata = read_tensors(asked.to_bytes(), "it")
    said: dict[str, Any] = json.loads(metadata[METADATA_KEY])
    return said


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
    network, images = relation_network(), torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1))
    maps = network.maps(images)
    one_way, other_way = network.relate(maps[:3], maps[3:]), network.relate(maps[3:], maps[:3])
    torch.testing.assert_close(one_way, other_way)
    assert one_way.unique().numel() == 3


def test_its_first_layers_begin_as_those_of_the_members_embedding() -> None:
    member = trained_member().learner
    trunk = RECIPE.relation_training(member, seed=0).network().trunk.state_dict()
    embedding = member.network().embedding.state_dict()
    assert len(trunk) == 6
    assert all(torch.equal(tensor, embedding[name]) for name, tensor in trunk.items())
    assert not torch.equal(embedding["layers.2.running_mean"], torch.zeros(8))


def test_a_tasks_images_are_held_against_each_other_class_by_class() -> None:
    member = trained_member().learner
    family = ImageFamily(RECIPE.tasks, training=GLYPHS)
    batch = family.sample(1, split=Split.TRAINING, first_task=5)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    shuffled = replace(batch, query_x=batch.query_x[:, order], query_y=batch.query_y[:, order])
    images, logits = held_against_each_other(member, shuffled)
    classes = torch.cat([batch.support_y, batch.query_y], 1)[0].sort().values
    for own in range(4):
        each = torch.cat([batch.support_x[0, batch.support_y[0] == own], batch.query_x[0, batch.query_y[0] == own]])
        assert {tuple(image.flatten().tolist()) for image in images[classes == own]} == {
            tuple(image.flatten().tolist()) for image in each
        }
    predictor = member.adapt(images.unsqueeze(0), torch.arange(12).unsqueeze(0))
    torch.testing.assert_close(logits, predictor(images.unsqueeze(0))[0], rtol=1e-3, atol=1e-3)
    assert torch.equal(logits.argmax(1), torch.arange(12))


def test_the_relation_network_learns_from_tasks_that_the_embedding_did_not(monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = ImageFamily.sample, []

    def sample(family: ImageFamily, num_tasks: int, *, split: Split, first_task: int) -> FewShotBatch:
        asked.append(first_task)
        return real(family, num_tasks, split=split, first_task=first_task)

    monkeypatch.setattr(ImageFamily, "sample", sample)
    trained_member()
    assert asked == [0, 1, 2, 3, 4, 5]


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
    network, images = relation_network(), torch.rand(1, 3, *SHAPE, generator=torch.Generator().manual_seed(1))
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
    shapes = FewShotShapes(input_shape=SHAPE, output_size=5, is_classification=True)
    versa = VersaLearner(shapes, VersaConfig(embedding=TRUNK), generator=torch.Generator())
    with pytest.raises(FewShotPolicyError, match="all learners prototypical"):
        FewShotPolicy([versa], relations=[relation_network()], views=VIEWS)


def test_it_answers_by_what_it_has_learned_not_by_what_is_asked() -> None:
    learning = relation_network().train()
    before = {name: tensor.clone() for name, tensor in learning.state_dict().items()}
    asked = FewShotPolicy([learner()], relations=[learning], views=VIEWS, ink_extent=0.6)
    adapted = asked.adapt(*support())
    together = adapted.scores(GLYPHS.images)
    torch.testing.assert_close(adapted.scores(GLYPHS.images[5:6]), together[5:6], rtol=1e-4, atol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in learning.state_dict().items())


def test_who_knows_no_second_look_is_told_by_the_format() -> None:
    assert described(policy())["format"] == 3
    assert described(FewShotPolicy([learner()], views=VIEWS))["format"] == 2


def relations_of_trunk(channels: list[int]) -> list[dict[str, Any]]:
    relations: list[dict[str, Any]] = described(policy())["relations"]
    for relation in relations:
        relation["config"]["trunk"]["channels"] = channels
    return relations


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("second_look", {"candidates": 0, "weight": 0.5}),
        ("second_look", {"candidates": 2.5, "weight": 0.5}),
        ("second_look", {"candidates": True, "weight": 0.5}),
        ("second_look", {"candidates": 5, "weight": -1.0}),
        ("second_look", {"candidates": 5, "weight": math.nan}),
        ("second_look", {"candidates": 5, "weight": None}),
        ("views", {"count": 0}),
        ("views", {"orientations": 0}),
        ("relations", relations_of_trunk([])),
        ("relations", [{}, {}]),
    ],
)
def test_descriptions_that_make_no_sense_are_refused(part: str, values: Any) -> None:
    tensors, metadata = read_tensors(policy().to_bytes(), "it")
    said = json.loads(metadata[METADATA_KEY])
    said[part] = {**said[part], **values} if isinstance(values, dict) else values
    content = encode(as_arrays(tensors), metadata={**metadata, METADATA_KEY: json.dumps(said)})
    with pytest.raises(FewShotPolicyError, match="what it says of itself"):
        FewShotPolicy.from_bytes(content, subject="odd")


def test_relations_of_which_a_part_is_missing_are_refused() -> None:
    network = relation_network()
    tensors = network.to_tensors()
    with pytest.raises(KeyError):
        RelationNetwork.from_tensors({n: t for n, t in tensors.items() if "running_mean" not in n}, network.to_meta())
    name = next(name for name in tensors if "running_mean" in name)
    with pytest.raises(ValueError, match="shape"):
        RelationNetwork.from_tensors({**tensors, name: tensors[name][:1]}, network.to_meta())
    with pytest.raises(ValueError, match="needs maps"):
        RelationConfig(trunk=EmbeddingConfig(channels=()))


def test_equal_seeds_train_equal_relations_and_others_others() -> None:
    trained = [trained_member(seed, member).relation for seed, member in ((4, 0), (4, 0), (4, 1), (5, 0))]
    tensors = [network.to_tensors() for network in trained if network is not None]
    assert len(tensors) == 4
    name = "parameters.judge.weight"
    assert all(torch.equal(tensors[0][key], tensors[1][key]) for key in tensors[0])
    assert not torch.equal(tensors[0][name], tensors[2][name])
    assert not torch.equal(tensors[0][name], tensors[3][name])


def test_none_is_trained_where_none_is_wanted_and_little_where_there_is_little_time() -> None:
    alone = train_member(GLYPHS, replace(RECIPE, relation_updates=0), seed=4, member=0, report=lambda _: None)
    assert alone.relation is None
    hurried = replace(RECIPE, updates=1_000_000, relation_updates=1_000_000, minutes=1e-9)
    trained = train_member(GLYPHS, hurried, seed=4, member=0, report=lambda _: None)
    assert (trained.learner.num_updates, trained.relation_updates) == (1, 1)
