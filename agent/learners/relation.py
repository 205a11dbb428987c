"""Relation Networks (Sung et al. 2018, arXiv:1711.06025): whether two images are of one class, seen side by side.

An embedding puts what tells an image from any other into its features before it is known from which. A relation module
looks at both images at once, and so at what tells apart these two:

    r(x, c) = g_ψ(|u - c|, u · c),     u = h_ψ(x),     c_n = 1/K Σ_{(x, y) ∈ S, y = n} h_ψ(x)

with h the first layers of an embedding, whose maps keep where things are, and g convolutions over both maps. That
is too slow to hold every query against every class, and not as good alone: here it has a second look at the few classes
that another learner finds likeliest.

Departures from the paper: |u - c| and u · c instead of both maps as they are, so that r does not depend on which of two
images is asked about; the mean over a class's examples instead of their sum; trained as a choice between a query's own
class and the ones most like it (softmax of r) instead of by squared errors of a relation between 0 and 1.

Shapes: Z = N · J images, J of each of N classes, class by class; Q queries, A candidates each, C × H × W maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own custom)
from jaxtyping import Float, Int64
from torch import Tensor, nn

from agent.learners.embedding_training import Training, TrainingConfig, load_module, module_to_tensors
from agent.learners.embeddings import Embedding, EmbeddingConfig, EmbeddingKind, ResidualBlock, draw_weights


@dataclass(frozen=True, kw_only=True)
class RelationConfig:
    """How two images are looked at together.

    Attributes:
        trunk: h, a convolutional one.
        width: channels of g's first block.
        last_width: channels of its last block, at half the places a side.

    Raises:
        ValueError: the trunk has no maps.
    """

    trunk: EmbeddingConfig
    width: int = 96
    last_width: int = 128

    def __post_init__(self) -> None:
        if self.trunk.kind is EmbeddingKind.MLP or not self.trunk.channels:
            raise ValueError(f"a relation network on {self.trunk.kind} of {self.trunk.channels}: it needs maps.")

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return {"trunk": self.trunk.to_json(), "width": self.width, "last_width": self.last_width}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RelationConfig:
        """The settings that :meth:`to_json` wrote."""
        return cls(**{**values, "trunk": EmbeddingConfig.from_json(values["trunk"])})


class RelationNetwork(nn.Module):
    """h_ψ and g_ψ.

    Args:
        input_shape: (channels, height, width) of an image.
        config: the settings.
        generator: draws the weights.
    """

    def __init__(self, input_shape: tuple[int, ...], config: RelationConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.input_shape = input_shape
        self.config = config
        self.trunk = Embedding(input_shape, config.trunk, generator=generator)
        width, last = config.width, config.last_width
        self.relation = nn.Sequential(
            nn.Conv2d(2 * config.trunk.channels[-1], width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            ResidualBlock(width, width, is_halving=False),
            ResidualBlock(width, last, is_halving=True),
        )
        self.judge = nn.Linear(2 * last, 1)
        for part in (self.relation, self.judge):
            draw_weights(part, generator=generator)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def begin_from(self, embedding: Embedding) -> None:
        """Let h be the first layers of an embedding that has learned."""
        learned = embedding.state_dict()
        self.trunk.load_state_dict({name: learned[name] for name in self.trunk.state_dict()})

    def maps(self, x: Float[Tensor, "B *X"]) -> Float[Tensor, "B C H W"]:
        """What h sees in each image."""
        return self.trunk.maps(x)

    def relate(self, left: Float[Tensor, "B C H W"], right: Float[Tensor, "B C H W"]) -> Float[Tensor, "B"]:
        """How far each two maps look like one class: logits."""
        with torch.autocast(left.device.type, torch.bfloat16, enabled=self.config.trunk.is_bfloat16):
            seen = self.relation(torch.cat([(left - right).abs(), left * right], 1)).to(torch.float32)
        relation: Tensor = self.judge(torch.cat([seen.mean((2, 3)), seen.amax((2, 3))], 1))
        return relation.squeeze(1)

    def to_tensors(self) -> dict[str, Tensor]:
        """Parameters and running statistics."""
        return module_to_tensors("", self)

    def to_meta(self) -> dict[str, Any]:
        """What the tensors do not tell."""
        return {"input_shape": list(self.input_shape), "config": self.config.to_json()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> RelationNetwork:
        """The network of which :meth:`to_tensors` and :meth:`to_meta` tell."""
        network = cls(tuple(meta["input_shape"]), RelationConfig.from_json(meta["config"]), generator=torch.Generator())
        load_module("", network, tensors)
        return network.eval().requires_grad_(requires_grad=False)


class RelationTraining:
    """Teaches a relation network to choose between a query's own class and those that are most like it.

    Args:
        network: it is trained in place.
        config: Adam's settings.
        num_queries: Q of an update, drawn from the task's images.
        num_rivals: other classes that a query's own is held against: the likeliest ones, the last drawn from all.
        generator: draws the queries and what they are held against.
    """

    def __init__(
        self,
        network: RelationNetwork,
        config: TrainingConfig,
        *,
        num_queries: int,
        num_rivals: int,
        generator: torch.Generator,
    ) -> None:
        self._training = Training(network, config)
        self._num_queries, self._num_rivals, self._generator = num_queries, num_rivals, generator

    @property
    def num_updates(self) -> int:
        """Updates taken."""
        return self._training.num_updates

    def plan_updates(self, planned_updates: int) -> None:
        """Let the learning rate fall over so many updates from here on, those taken included."""
        self._training.plan_updates(planned_updates)

    def network(self) -> RelationNetwork:
        """The averaged network as it is now."""
        return self._training.frozen_copy()

    def update(self, images: Float[Tensor, "Z *X"], logits: Float[Tensor, "Z Z"], *, num_ways: int) -> dict[str, float]:
        """Take one step on the images of a task.

        Args:
            images: class by class, equally many of each.
            logits: of each image (row) for being of each image's class, by the learner whose choice is looked at again.
            num_ways: N.
        """
        network = self._training.trained
        queries = torch.randperm(len(images), generator=self._generator)[: self._num_queries]
        held_against = draw_candidates(
            logits, queries, num_ways=num_ways, num_rivals=self._num_rivals, generator=self._generator
        )
        maps = network.maps(images)
        asked = maps[queries].repeat_interleave(held_against.shape[1], 0)
        relations = network.relate(asked, maps[held_against.flatten()]).view(held_against.shape)
        loss = F.cross_entropy(relations, torch.zeros(len(queries), dtype=torch.int64))
        self._training.step(loss)
        return {"loss": loss.item(), "accuracy": float((relations.argmax(1) == 0).float().mean())}


def draw_candidates(
    logits: Float[Tensor, "Z Z"],
    queries: Int64[Tensor, "Q"],
    *,
    num_ways: int,
    num_rivals: int,
    generator: torch.Generator,
) -> Int64[Tensor, "Q A"]:
    """An image of each query's own class, never itself, then one of each rival class.

    Each class is shown by one image drawn for that query; the rivals are those whose image is likeliest, and the last
    one is any other. Where there are fewer classes, there are fewer rivals.
    """
    per_class = len(logits) // num_ways
    own, place = queries // per_class, queries % per_class
    drawn = torch.randint(per_class, (len(queries), num_ways), generator=generator)
    other = torch.randint(1, per_class, (len(queries),), generator=generator)
    drawn.scatter_(1, own.unsqueeze(1), ((place + other) % per_class).unsqueeze(1))
    shown = drawn + per_class * torch.arange(num_ways)
    likely = logits[queries].gather(1, shown).scatter(1, own.unsqueeze(1), -torch.inf)
    num_rivals = min(num_rivals, num_ways - 1)
    ranked = likely.argsort(1, descending=True)[:, : num_ways - 1]
    drawn_last = torch.randint(num_rivals - 1, num_ways - 1, (len(queries), 1), generator=generator)
    rivals = torch.cat([ranked[:, : num_rivals - 1], ranked.gather(1, drawn_last)], 1)
    return shown.gather(1, torch.cat([own.unsqueeze(1), rivals], 1))
