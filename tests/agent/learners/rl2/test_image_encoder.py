"""Tests of the encoder of images, which all families share."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from agent.learners.rl2 import image_encoder
from agent.learners.rl2.image_encoder import NUM_FEATURES, ImageEncoder, entry, entry_stride
from agent.learners.rl2.parameters import policy_from_initialization
from agent.learners.rl2.trials import to_records
from envs.spaces import ImageShape, ObservationKind, ObservationSpec, SpacePair
from memory.files.episode_codec import pack_episode, unpack_episode
from tests.agent.learners.rl2.playing import learner_for, play
from tests.agent.learners.rl2.scripted_tasks import IMAGES, VECTOR

SIZES = [(10, 10, 4), (56, 56, 3), (64, 49, 3), (84, 84, 1), (8, 64, 12), (128, 128, 3)]


def spec_of(*sizes: tuple[int, int, int]) -> ObservationSpec:
    images = tuple(ImageShape(height=h, width=w, channels=c) for h, w, c in sizes)
    return ObservationSpec(kind=ObservationKind.IMAGE, size=0, images=images)


def encoder_of(spec: ObservationSpec) -> tuple[ImageEncoder, nn.ModuleList]:
    generator = torch.Generator().manual_seed(0)
    return ImageEncoder(generator=generator), nn.ModuleList(entry(image, generator=generator) for image in spec.images)


def rows_of(spec: ObservationSpec, num_rows: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (num_rows, spec.width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("size", SIZES)
def test_one_encoder_encodes_images_of_every_size(size: tuple[int, int, int]) -> None:
    spec = spec_of(size)
    encoder, entries = encoder_of(spec)
    features = encoder.encode(rows_of(spec, 3), spec, entries)
    assert features.shape == (3, NUM_FEATURES)
    assert not torch.equal(features[0], features[1])
    assert entry_stride(spec.images[0]) == -(-max(size[:2]) // 16)


def test_each_pixel_of_an_image_matters() -> None:
    spec = spec_of((17, 10, 1))
    encoder, entries = encoder_of(spec)
    rows = rows_of(spec, 1).repeat(spec.width + 1, 1)
    rows[torch.arange(spec.width), torch.arange(spec.width)] ^= 255
    features = encoder.encode(rows, spec, entries)
    assert bool((features[:-1] != features[-1]).any(1).all())


def test_the_features_of_one_image_follow_those_of_another() -> None:
    both = spec_of((10, 10, 4), (20, 20, 1))
    encoder, entries = encoder_of(both)
    rows = rows_of(both, 2)
    features = encoder.encode(rows, both, entries)
    alone = encoder.encode(rows[:, 400:], spec_of((20, 20, 1)), nn.ModuleList([entries[1]]))
    torch.testing.assert_close(features[:, NUM_FEATURES:], alone)


def test_many_images_are_encoded_in_portions_with_equal_features_and_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = spec_of((10, 10, 4))
    encoder, entries = encoder_of(spec)
    rows, found = rows_of(spec, 11), []
    for at_once, kept in ((100, 100), (4, 100), (4, 5)):
        monkeypatch.setattr(image_encoder, "IMAGES_AT_ONCE", at_once)
        monkeypatch.setattr(image_encoder, "MOST_KEPT", kept)
        encoder.zero_grad()
        features = encoder.encode(rows, spec, entries)
        features.square().sum().backward()
        assert encoder.reduce.weight.grad is not None
        found.append((features.detach(), encoder.reduce.weight.grad.clone()))
    for features, gradient in found[1:]:
        torch.testing.assert_close(features, found[0][0])
        torch.testing.assert_close(gradient, found[0][1])


def test_families_with_images_share_the_encoder_and_learning_one_changes_it_for_the_other() -> None:
    other = SpacePair(observation=spec_of((10, 10, 4)), action=IMAGES.action)
    learner = learner_for(IMAGES)
    encoder = learner.policy.images
    learner.add_family("other", other)
    assert learner.policy.images is encoder
    rows = rows_of(other.observation, 2)
    pair = learner.policy.pair(other)
    assert encoder is not None
    before = encoder.encode(rows, other.observation, pair.enter_images).detach()
    learner.update("scripted", play(learner, IMAGES))
    assert not torch.equal(encoder.encode(rows, other.observation, pair.enter_images), before)


def test_a_policy_without_images_has_no_encoder_and_a_published_one_gets_its_own() -> None:
    learner = learner_for(VECTOR)
    assert not [name for name in learner.initialization() if name.startswith("images.")]
    learner.add_family("eye", IMAGES)
    tensors = learner.initialization()
    policy = policy_from_initialization(learner.config, tensors, [VECTOR, IMAGES])
    assert policy.images is not None
    assert torch.equal(policy.images.join.weight, tensors["images.join.weight"])
    assert policy_from_initialization(learner.config, tensors, [VECTOR]).images is None


def test_images_stay_bytes_from_the_tasks_to_the_store() -> None:
    learner = learner_for(IMAGES)
    trials = play(learner, IMAGES)
    assert trials.observation.dtype is trials.final_observation.dtype is torch.uint8
    [record] = to_records(trials, rows=[1], tasks=[{}])
    episodes = [unpack_episode(pack_episode(episode)) for episode in record.episodes]
    assert {episode.observations.dtype.name for episode in episodes} == {"uint8"}
    assert torch.equal(torch.from_numpy(episodes[0].observations[0].copy()), trials.observation[0, 1])
    ends = trials.end % trials.num_trials == 1
    last = torch.stack([torch.from_numpy(episode.observations[-1].copy()) for episode in episodes])
    assert torch.equal(last, trials.final_observation[ends])
