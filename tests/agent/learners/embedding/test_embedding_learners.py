"""Prototypical and Matching Networks and VERSA: what each must do beside its paper, and what all three must do."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from agent.learners.embedding.embeddings import Embedding, EmbeddingConfig, EmbeddingKind
from agent.learners.embedding.matching import MatchingConfig, MatchingLearner, MatchingNetwork
from agent.learners.embedding.prototypical import (
    Distance,
    PrototypicalConfig,
    PrototypicalLearner,
    PrototypicalNetwork,
    prototypes,
    squared_distances,
)
from agent.learners.embedding.training import TrainingConfig
from agent.learners.embedding.versa import HeadDistribution, VersaConfig, VersaLearner, VersaNetwork
from agent.learners.factory import build, restore
from agent.learners.protocol import FewShotLearner, Predictor, SamplingPredictor
from envs.family import Split
from envs.few_shot.images.folder import ImageFamily, ImageTaskConfig
from envs.few_shot.images.glyphs import GlyphConfig
from envs.few_shot.tasks import FewShotBatch, FewShotShapes
from tests.agent.learners.image_folders import glyph_family

IMAGE = FewShotShapes(input_shape=(1, 12, 12), output_size=4, is_classification=True)
VECTOR = FewShotShapes(input_shape=(3,), output_size=4, is_classification=True)
CURVE = FewShotShapes(input_shape=(1,), output_size=1, is_classification=False)
SMALL_IMAGES = EmbeddingConfig(channels=(8, 8))
SMALL_VECTORS = EmbeddingConfig(kind=EmbeddingKind.MLP, channels=(16, 8))
FAST = TrainingConfig(learning_rate=5e-3)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def prototypical(shapes: FewShotShapes = IMAGE, **settings: Any) -> PrototypicalLearner:
    embedding = SMALL_IMAGES if len(shapes.input_shape) == 3 else SMALL_VECTORS
    config = PrototypicalConfig(**{"embedding": embedding, "training": FAST, **settings})
    return PrototypicalLearner(shapes, config, generator=seeded())


def matching(shapes: FewShotShapes = IMAGE, **settings: Any) -> MatchingLearner:
    embedding = SMALL_IMAGES if len(shapes.input_shape) == 3 else SMALL_VECTORS
    config = MatchingConfig(**{"embedding": embedding, "training": FAST, **settings})
    return MatchingLearner(shapes, config, generator=seeded())


def versa(shapes: FewShotShapes = IMAGE, **settings: Any) -> VersaLearner:
    embedding = SMALL_IMAGES if len(shapes.input_shape) == 3 else SMALL_VECTORS
    small = {"embedding": embedding, "num_features": 16, "hidden_size": 32, "training": FAST}
    return VersaLearner(shapes, VersaConfig(**{**small, **settings}), generator=seeded())


MAKERS: dict[str, Callable[[], FewShotLearner]] = {
    "prototypical": prototypical,
    "prototypical, every image a support": lambda: prototypical(
        every_image_supports=True,
        is_scale_learned=True,
        training=TrainingConfig(learning_rate=5e-3, planned_updates=400, average_decay=0.9),
    ),
    "prototypical, normalised by the task": lambda: prototypical(statistics_prior=4.0),
    "prototypical, cosine": lambda: prototypical(distance=Distance.COSINE, is_scale_learned=True),
    "prototypical, tolerant of where strokes lie": lambda: prototypical(
        distance=Distance.TOLERANT, every_image_supports=True, is_scale_learned=True
    ),
    "prototypical, residual": lambda: prototypical(
        embedding=EmbeddingConfig(kind=EmbeddingKind.RESIDUAL, channels=(8, 8, 8), is_bfloat16=True)
    ),
    "matching": matching,
    "matching, full context": lambda: matching(has_full_context=True, processing_steps=2),
    "versa": versa,
    "versa, every image a support": lambda: versa(every_image_supports=True),
    "versa, regression": lambda: versa(CURVE),
}
CLASSIFIERS = [name for name in MAKERS if "regression" not in name]
every_learner = pytest.mark.parametrize("name", MAKERS)
every_classifier = pytest.mark.parametrize("name", CLASSIFIERS)


def random_batch(
    shapes: FewShotShapes, *, tasks: int = 2, shots: int = 1, queries: int = 2, seed: int = 0
) -> FewShotBatch:
    generator = seeded(seed)

    def inputs(count: int) -> Tensor:
        return torch.rand(tasks, count, *shapes.input_shape, generator=generator)

    if not shapes.is_classification:
        support_x, query_x = inputs(5) * 4 - 2, inputs(5) * 4 - 2
        phase = torch.rand(tasks, 1, 1, generator=generator)
        return FewShotBatch(
            support_x=support_x, support_y=(support_x + phase).sin(), query_x=query_x, query_y=(query_x + phase).sin()
        )
    labels = torch.arange(shapes.output_size)
    return FewShotBatch(
        support_x=inputs(shapes.output_size * shots),
        support_y=labels.repeat_interleave(shots).expand(tasks, -1),
        query_x=inputs(shapes.output_size * queries),
        query_y=labels.repeat_interleave(queries).expand(tasks, -1),
    )


def glyph_tasks(**settings: Any) -> ImageFamily:
    config = ImageTaskConfig(**{"ways": 5, "queries": 3, "size": 20, **settings})
    return glyph_family(config, GlyphConfig(alphabets=8, characters=12, drawers=8, size=40))


def held_out_accuracy(learner: FewShotLearner, family: ImageFamily, *, tasks: int = 60) -> float:
    batch = family.sample(tasks, split=Split.HELD_OUT, first_task=0)
    logits = learner.adapt(batch.support_x, batch.support_y)(batch.query_x)
    return float((logits.argmax(2) == batch.query_y).float().mean())


# What the papers say, by hand.


def test_a_prototype_is_the_mean_of_its_class() -> None:
    features = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [0.0, 5.0], [2.0, 2.0]]])
    labels = torch.tensor([[0, 0, 1, 0]])
    torch.testing.assert_close(prototypes(features, labels, num_ways=2), torch.tensor([[[2.0, 2 / 3], [0.0, 5.0]]]))


def test_prototypical_logits_are_negative_squared_distances() -> None:
    network = prototypical(VECTOR)._training.trained
    logits = network.logits(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[1.0, 0.0], [4.0, 6.0]]]))
    assert logits.tolist() == [[[-4.0, -25.0]]]


def test_prototypical_cosine_logits_are_scaled_cosine_distances() -> None:
    network = prototypical(VECTOR, distance=Distance.COSINE)._training.trained
    logits = network.logits(torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[1.0, 0.0], [0.0, -2.0]]]))
    torch.testing.assert_close(logits, torch.tensor([[[0.6 - 1.0, -0.8 - 1.0]]]))


def test_a_distance_between_maps_is_refused_where_an_embedding_makes_none() -> None:
    with pytest.raises(ValueError, match="compares feature maps"):
        prototypical(VECTOR, distance=Distance.TOLERANT)


def test_one_shot_prototypes_are_nearest_neighbours() -> None:
    learner = prototypical()
    batch = random_batch(IMAGE, queries=5)
    embedding = learner._training.averaged.embedding
    with torch.no_grad():
        distances = torch.cdist(embedding.embed_tasks(batch.query_x), embedding.embed_tasks(batch.support_x))
    predicted = learner.adapt(batch.support_x, batch.support_y)(batch.query_x).argmax(2)
    assert torch.equal(predicted, distances.argmin(2))


def test_every_image_as_support_equals_its_one_shot_tasks_one_by_one() -> None:
    learner = prototypical(every_image_supports=True)
    batch = random_batch(IMAGE, tasks=1, queries=3)
    network = learner._training.trained
    images = torch.cat([batch.support_x, batch.query_x], 1)
    labels = torch.cat([batch.support_y, batch.query_y], 1)[0]
    features = network.embedding.embed_tasks(images)[0]
    losses = []
    for number in range(4):
        support = torch.stack([features[labels == n][number] for n in range(4)])
        for n in range(4):
            others = [f for place, f in enumerate(features[labels == n]) if place != number]
            distances = torch.stack([(support - f).square().sum(1) for f in others])
            losses += (-(-distances).log_softmax(1)[:, n]).tolist()
    assert learner.update(batch)["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-4)


@pytest.mark.parametrize("kind", [EmbeddingKind.CONV4, EmbeddingKind.RESIDUAL])
def test_without_a_prior_a_task_is_normalised_by_its_own_support_set(kind: EmbeddingKind) -> None:
    embedding = Embedding((1, 16, 16), EmbeddingConfig(kind=kind, channels=(8, 8)), generator=seeded())
    support = torch.rand(12, 1, 16, 16, generator=seeded(1))
    with torch.no_grad():
        by_its_batch = copy.deepcopy(embedding).train()(support)
    before = {name: buffer.clone() for name, buffer in embedding.named_buffers()}
    statistics, found = embedding.eval().task_statistics(support, prior=0.0)
    torch.testing.assert_close(embedding.embed_with(statistics, support), found)
    # Running variances are of a sample (n - 1), a batch's of itself (n).
    torch.testing.assert_close(found, by_its_batch, rtol=1e-2, atol=1e-2)
    assert all(torch.equal(before[name], buffer) for name, buffer in embedding.named_buffers())


def test_the_prior_is_how_many_examples_the_running_statistics_count_for() -> None:
    embedding = Embedding((1, 16, 16), EmbeddingConfig(channels=(8,)), generator=seeded()).eval()
    support = 5.0 * torch.rand(12, 1, 16, 16, generator=seeded(1))
    running = dict(embedding.named_buffers())
    own, half = (embedding.task_statistics(support, prior=prior)[0] for prior in (0.0, 12.0))
    for name in ("layers.2.running_mean", "layers.2.running_var"):
        assert not torch.allclose(own[name], running[name])
        torch.testing.assert_close(half[name], (own[name] + running[name]) / 2)


def test_a_task_with_statistics_of_its_own_is_answered_as_if_it_were_alone() -> None:
    learner = prototypical(statistics_prior=6.0)
    batch = random_batch(IMAGE, tasks=2, queries=3)
    together = learner.adapt(batch.support_x, batch.support_y)(batch.query_x)
    alone = [
        learner.adapt(batch.support_x[m : m + 1], batch.support_y[m : m + 1])(batch.query_x[m : m + 1])
        for m in range(2)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)
    plain = prototypical().adapt(batch.support_x, batch.support_y)(batch.query_x)
    assert not torch.allclose(together, plain, rtol=1e-2)


def test_versa_with_every_image_as_support_equals_its_one_shot_tasks_one_by_one() -> None:
    learner = versa(every_image_supports=True, num_samples=1)
    network = learner._training.trained
    with torch.no_grad():
        network.head[-1].bias[17:] = -60.0  # log σ²: every sampled head is the mean
        network.head[-1].weight[17:] = 0.0
    batch = random_batch(IMAGE, tasks=1, queries=3)
    features = network.embed(torch.cat([batch.support_x, batch.query_x], 1))[0]
    labels = torch.cat([batch.support_y, batch.query_y], 1)[0]
    losses = []
    for number in range(4):
        support = torch.stack([features[labels == n][number] for n in range(4)])
        heads = network.infer(support[None], torch.arange(4)[None]).mean[None]
        for n in range(4):
            others = [f for place, f in enumerate(features[labels == n]) if place != number]
            log_p = network.outputs(torch.stack(others)[None], heads).log_softmax(3)
            losses += log_p[0, 0, :, n].tolist()
    assert learner.update(batch)["loss"] == pytest.approx(-sum(losses) / len(losses), rel=1e-4)


def test_matching_gives_each_label_its_share_of_the_attention() -> None:
    network = matching(VECTOR)._training.trained
    with torch.no_grad():
        network.log_scale.fill_(math.log(2.0))
        support = torch.tensor([[[1.0, 0.0], [0.0, 3.0], [2.0, 0.0]]])
        log_p = network.log_p(torch.tensor([[[5.0, 0.0]]]), support, torch.tensor([[0, 1, 0]]))
    attention = [math.exp(2.0), math.exp(0.0), math.exp(2.0)]
    expected = [(attention[0] + attention[2]) / sum(attention), attention[1] / sum(attention)]
    torch.testing.assert_close(log_p.exp(), torch.tensor([[expected]]))


def test_matching_pulls_at_a_class_that_attention_all_but_leaves_out() -> None:
    network = MatchingNetwork(VECTOR, MatchingConfig(embedding=SMALL_VECTORS), generator=seeded())
    network.log_scale.data.fill_(math.log(60.0))
    support = torch.eye(8)[:2].unsqueeze(0)
    features = torch.tensor([[[3.0, -4.0, 0, 0, 0, 0, 0, 0]]], requires_grad=True)
    log_p = network.log_p(features, support, torch.tensor([[0, 1]]))
    torch.testing.assert_close(log_p[0, 0, 1], torch.tensor(60.0 * (-0.8 - 0.6)))
    log_p[0, 0, 1].backward()
    assert features.grad is not None
    assert float(features.grad.abs().max()) > 1.0


def test_full_context_attention_is_the_papers_lstm_over_hidden_and_read() -> None:
    context = matching(VECTOR, has_full_context=True, processing_steps=1)._training.trained.context
    assert context is not None
    query, support = torch.randn(1, 1, 8), torch.randn(1, 3, 8)
    with torch.no_grad():
        read = (query @ support.mT).softmax(2) @ support
        cell = context.attention
        gates = cell.weight_ih @ torch.cat([query[0, 0], read[0, 0]]) + cell.bias_ih
        gates = gates + cell.weight_hh @ query[0, 0] + cell.bias_hh
        i, _, g, o = gates.chunk(4)
        expected = o.sigmoid() * (i.sigmoid() * g.tanh()).tanh() + query[0, 0]
        torch.testing.assert_close(context.of_queries(query, support)[0, 0], expected)


def test_versa_averages_the_likelihood_and_not_its_logarithm() -> None:
    network = versa(VECTOR)._training.trained
    outputs = torch.tensor([[[[math.log(3.0), 0.0]]], [[[0.0, 0.0]]]])
    found = network.log_likelihood(outputs, torch.tensor([[0]]))
    assert found.item() == pytest.approx(math.log((0.75 + 0.5) / 2))


def test_versa_regression_likelihood_is_a_normal_density() -> None:
    network = versa(CURVE)._training.trained
    found = network.log_likelihood(torch.tensor([[[[1.0]]]]), torch.tensor([[[3.0]]]))
    assert found.item() == pytest.approx(-2.0 - 0.5 * math.log(2 * math.pi))


def test_versa_heads_are_sampled_with_the_inferred_mean_and_variance() -> None:
    heads = HeadDistribution(mean=torch.full((1, 1, 2), 3.0), log_variance=torch.full((1, 1, 2), math.log(0.25)))
    sampled = heads.sample(20_000, seeded())
    assert sampled.mean().item() == pytest.approx(3.0, abs=0.02)
    assert sampled.std().item() == pytest.approx(0.5, abs=0.02)


# Identities.


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "matching, full context"])
def test_the_order_of_the_support_set_does_not_matter(name: str) -> None:
    learner = MAKERS[name]()
    batch = random_batch(learner.shapes, shots=2)
    order = torch.randperm(batch.support_x.shape[1], generator=seeded(3))
    there = learner.adapt(batch.support_x, batch.support_y)(batch.query_x)
    turned = learner.adapt(batch.support_x[:, order], batch.support_y[:, order])(batch.query_x)
    torch.testing.assert_close(there, turned, rtol=1e-4, atol=1e-4)


@every_learner
def test_what_else_is_asked_does_not_matter(name: str) -> None:
    learner = MAKERS[name]()
    batch = random_batch(learner.shapes, queries=4)
    learner.update(batch)
    predictor = learner.adapt(batch.support_x, batch.support_y)
    together = predictor(batch.query_x)
    alone = predictor(batch.query_x[:, 1:2])
    torch.testing.assert_close(together[:, 1:2], alone, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if not name.startswith(("matching, full", "versa"))])
def test_classes_may_be_numbered_otherwise(name: str) -> None:
    learner = MAKERS[name]()
    batch = random_batch(learner.shapes)
    names = torch.tensor([2, 0, 3, 1])
    there = learner.adapt(batch.support_x, batch.support_y)(batch.query_x)
    renamed = learner.adapt(batch.support_x, names[batch.support_y])(batch.query_x)
    torch.testing.assert_close(there, renamed[:, :, names], rtol=1e-4, atol=1e-4)


@every_classifier
def test_it_adapts_to_other_ways_and_shots_than_it_learned_with(name: str) -> None:
    learner = MAKERS[name]()
    more = FewShotShapes(input_shape=learner.shapes.input_shape, output_size=7, is_classification=True)
    batch = random_batch(more, shots=3)
    assert learner.adapt(batch.support_x, batch.support_y)(batch.query_x).shape == (2, 14, 7)


@every_learner
def test_its_predictors_are_of_the_protocol(name: str) -> None:
    learner = MAKERS[name]()
    batch = random_batch(learner.shapes)
    predictor = learner.adapt(batch.support_x, batch.support_y)
    assert isinstance(predictor, Predictor)
    assert isinstance(predictor, SamplingPredictor) == name.startswith("versa")
    assert not predictor(batch.query_x).requires_grad
    if isinstance(predictor, SamplingPredictor):
        sampled = predictor.sample(batch.query_x, num_samples=3, generator=seeded())
        assert sampled.shape == (3, *predictor(batch.query_x).shape)


# State.


@every_learner
def test_adapting_leaves_the_learner_bit_identical(name: str) -> None:
    learner = MAKERS[name]()
    batch = random_batch(learner.shapes)
    learner.update(batch)
    before = learner.to_tensors()
    learner.adapt(batch.support_x, batch.support_y)(batch.query_x)
    after = learner.to_tensors()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@every_learner
def test_a_predictor_is_not_changed_by_later_updates(name: str) -> None:
    learner = MAKERS[name]()
    batch = random_batch(learner.shapes)
    predictor = learner.adapt(batch.support_x, batch.support_y)
    before = predictor(batch.query_x)
    learner.update(batch)
    assert torch.equal(predictor(batch.query_x), before)


@every_learner
def test_restored_from_its_tensors_it_goes_on_bit_for_bit(name: str) -> None:
    learner = MAKERS[name]()
    for seed in range(3):
        learner.update(random_batch(learner.shapes, seed=seed))
    resumed = restore(learner.to_tensors(), learner.to_meta())
    assert resumed.num_updates == 3
    for seed in range(3, 6):
        batch = random_batch(learner.shapes, seed=seed)
        assert learner.update(batch) == resumed.update(batch)
    ours, theirs = learner.to_tensors(), resumed.to_tensors()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@every_learner
def test_an_initialization_alone_adapts_the_same(name: str) -> None:
    learner = MAKERS[name]()
    batch = random_batch(learner.shapes)
    for _ in range(3):
        learner.update(batch)
    published = restore(learner.initialization(), learner.to_meta())
    ours = learner.adapt(batch.support_x, batch.support_y)(batch.query_x)
    assert torch.equal(published.adapt(batch.support_x, batch.support_y)(batch.query_x), ours)


def test_averaged_weights_lag_behind_the_trained_ones() -> None:
    learner = prototypical(training=TrainingConfig(learning_rate=1e-2, average_decay=0.9))
    start = learner.initialization()["parameters.embedding.layers.0.weight"]
    for seed in range(20):
        learner.update(random_batch(IMAGE, seed=seed))
    averaged = learner.initialization()["parameters.embedding.layers.0.weight"]
    trained = learner.to_tensors()["training.parameters.embedding.layers.0.weight"]
    assert 0.0 < float((averaged - start).norm()) < float((trained - start).norm())


def test_the_learning_rate_rises_then_falls_to_a_fiftieth() -> None:
    config = TrainingConfig(learning_rate=1.0, planned_updates=1000)
    assert config.rate(0) == pytest.approx(0.01)
    assert config.rate(500) == pytest.approx(0.51)
    assert config.rate(1000) == pytest.approx(0.02)
    assert TrainingConfig(learning_rate=0.3).rate(12345) == 0.3


def test_learners_that_need_classes_refuse_a_regression() -> None:
    with pytest.raises(ValueError, match="regression"):
        PrototypicalLearner(CURVE, generator=seeded())
    with pytest.raises(ValueError, match="regression"):
        MatchingLearner(CURVE, generator=seeded())


def test_the_registry_builds_them_by_name() -> None:
    shapes = FewShotShapes(input_shape=(1, 28, 28), output_size=5, is_classification=True)
    for name, kind in {"prototypical": PrototypicalLearner, "matching": MatchingLearner, "versa": VersaLearner}.items():
        assert isinstance(build(name, shapes, generator=seeded()), kind)


# Gradients.


def finite_differences_agree(network: torch.nn.Module, loss: Callable[[], Tensor]) -> None:
    network.double().train()
    with torch.no_grad():
        for module in network.modules():  # away from the kinks of rectification and maximum
            if isinstance(module, torch.nn.BatchNorm2d):
                module.bias.uniform_(0.1, 0.6, generator=seeded(1))
    value = loss()
    gradients = torch.autograd.grad(value, list(network.parameters()), allow_unused=True)
    direction = [torch.randn(p.shape, dtype=p.dtype, generator=seeded(2)) for p in network.parameters()]
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True) if g is not None)
    step = 1e-6
    ends = []
    with torch.no_grad():
        for sign in (1.0, -2.0):
            for parameter, d in zip(network.parameters(), direction, strict=True):
                parameter.add_(d, alpha=sign * step)
            ends.append(float(loss()))
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=1e-4, abs=1e-7)


def test_prototypical_gradient_is_that_of_finite_differences() -> None:
    network = PrototypicalNetwork(
        IMAGE, PrototypicalConfig(embedding=SMALL_IMAGES, is_scale_learned=True), generator=seeded()
    )
    batch = random_batch(IMAGE)
    support_x, query_x = batch.support_x.double(), batch.query_x.double()

    def loss() -> Tensor:
        means = prototypes(network.embedding.embed_tasks(support_x), batch.support_y, num_ways=4)
        logits = network.logits(network.embedding.embed_tasks(query_x), means)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.query_y.flatten())

    finite_differences_agree(network, loss)


def test_matching_gradient_is_that_of_finite_differences() -> None:
    config = MatchingConfig(embedding=SMALL_VECTORS, has_full_context=True, processing_steps=2)
    network = MatchingNetwork(VECTOR, config, generator=seeded())
    batch = random_batch(VECTOR)

    def loss() -> Tensor:
        support = network.embed_support(network.embedding.embed_tasks(batch.support_x.double()))
        log_p = network.log_p(network.embedding.embed_tasks(batch.query_x.double()), support, batch.support_y)
        return torch.nn.functional.nll_loss(log_p.flatten(0, 1), batch.query_y.flatten())

    finite_differences_agree(network, loss)


@pytest.mark.parametrize("shapes", [VECTOR, CURVE], ids=["classification", "regression"])
def test_versa_gradient_is_that_of_finite_differences(shapes: FewShotShapes) -> None:
    config = VersaConfig(embedding=SMALL_VECTORS, num_features=6, hidden_size=8)
    network = VersaNetwork(shapes, config, generator=seeded())
    batch = random_batch(shapes)
    targets = batch.support_y if shapes.is_classification else batch.support_y.double()
    asked = batch.query_y if shapes.is_classification else batch.query_y.double()

    def loss() -> Tensor:
        heads = network.infer(network.embed(batch.support_x.double()), targets).sample(3, seeded(4))
        return -network.log_likelihood(network.outputs(network.embed(batch.query_x.double()), heads), asked).mean()

    finite_differences_agree(network, loss)


def test_squared_distances_are_those_of_cdist() -> None:
    left, right = torch.randn(2, 5, 7, generator=seeded()), torch.randn(2, 3, 7, generator=seeded(1))
    torch.testing.assert_close(squared_distances(left, right), torch.cdist(left, right).square(), rtol=1e-4, atol=1e-4)


def test_bfloat16_embeddings_are_near_the_float32_ones_and_the_same_where_it_would_be_imitated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shape = (1, 20, 20)
    x = torch.rand(6, *shape, generator=seeded(1))

    def features(*, is_asked: bool, is_there: bool) -> Tensor:
        monkeypatch.setattr("agent.learners.embedding.embeddings.computes_in_bfloat16", lambda _device: is_there)
        with torch.no_grad():
            return Embedding(shape, EmbeddingConfig(is_bfloat16=is_asked), generator=seeded()).eval()(x)

    exact = features(is_asked=False, is_there=True)
    quick = features(is_asked=True, is_there=True)
    assert quick.dtype == torch.float32
    assert 0.0 < float((exact - quick).norm() / exact.norm()) < 0.03
    assert torch.equal(features(is_asked=True, is_there=False), exact)


# Learning.


@every_learner
def test_it_overfits_one_small_task(name: str) -> None:
    learner = MAKERS[name]()
    batch = random_batch(learner.shapes, tasks=1, queries=2)
    for _ in range(80):
        last = learner.update(batch)
    assert last.get("accuracy") == 1.0 or last.get("squared_error", math.inf) < 0.01


@pytest.mark.parametrize("name", ["prototypical", "matching", "versa"])
def test_it_beats_no_adaptation_on_alphabets_never_seen(name: str) -> None:
    family = glyph_tasks()
    shapes = FewShotShapes.of(family)
    makers: dict[str, Callable[..., FewShotLearner]] = {
        "prototypical": prototypical,
        "matching": matching,
        "versa": versa,
    }
    learner = makers[name](shapes, embedding=EmbeddingConfig(channels=(16, 16, 16)))
    for update in range(40):
        learner.update(family.sample(2, split=Split.TRAINING, first_task=2 * update))
    batch = family.sample(60, split=Split.HELD_OUT, first_task=0)
    # Without adaptation: the same learner shown other tasks' support sets.
    strangers = learner.adapt(batch.support_x.roll(1, 0), batch.support_y)(batch.query_x)
    without = float((strangers.argmax(2) == batch.query_y).float().mean())
    assert held_out_accuracy(learner, family) > without + 0.2


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_it_learns_to_learn_made_up_characters(name: str) -> None:
    family = glyph_tasks(ways=4, size=12)
    learner = MAKERS[name]()
    for update in range(400):
        learner.update(family.sample(2, split=Split.TRAINING, first_task=2 * update))
    assert held_out_accuracy(learner, family, tasks=200) > 0.7
