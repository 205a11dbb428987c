"""Embeddings: networks from inputs to features, shared by the learners that compare examples.

Unlike in ``networks``, all tasks share one set of parameters; what adapts is computed from the features. Batches are
normalised by their own statistics while learning, and by the running statistics when predicting, so that no prediction
depends on other queries.

Convolutions run channels-last, and on request in bfloat16 if the processor has instructions for it. Without them
bfloat16 is emulated at a twelfth of float32's rate (two cores without AVX-512), so float32 is used instead.

The examples of a task may move the running statistics towards their own (``task_statistics``). The same network then
adjusts to characters drawn with a thicker pen, or to an alphabet with larger features.

Shapes: B examples, M tasks, S examples a task, E features; ``*X`` is one input's own shape.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, partial

import torch
import torch.nn.functional as F  # noqa: N812 (torch's convention)
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

EMBEDDED_AT_ONCE = 512
"""Largest number of examples in one forward pass when predicting, to bound memory."""


class EmbeddingKind(StrEnum):
    """A layout of an embedding."""

    CONV4 = "conv4"
    """Convolution, normalisation, rectification and halving, repeated (Vinyals et al. 2016, section 4.1).

    The paper repeats them four times; here there is one repetition per entry of ``channels``.
    """

    RESIDUAL = "residual"
    """A strided convolution, then residual blocks of two convolutions, with halving between them."""

    MLP = "mlp"
    """Linear layers with rectification between them; for vectors."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig:
    """Settings of the embedding f_φ (Snell et al. 2017).

    Attributes:
        kind: its layout.
        channels: width of each layer or block.
        is_bfloat16: run convolutions in bfloat16 if the device has instructions for it; parameters, normalisation and
            features stay float32.
    """

    kind: EmbeddingKind = EmbeddingKind.CONV4
    channels: tuple[int, ...] = (64, 64, 64, 64)
    is_bfloat16: bool = False


@cache
def computes_in_bfloat16(device_type: str) -> bool:
    """Return whether a device has instructions for products in bfloat16.

    Args:
        device_type: "cpu" or "cuda".
    """
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


class Embedding(nn.Module):
    """An embedding f_φ from inputs to features.

    Args:
        input_shape: (channels, height, width) for the convolutional kinds; any shape for ``MLP``.
        config: the layout.
        generator: the source of the weights (He et al. 2015) and of a perceptron's biases.

    Attributes:
        num_features: E.
        map_shape: (channels, rows, columns) of the feature maps of a convolutional kind; None for ``MLP``.
    """

    num_features: int
    map_shape: tuple[int, ...] | None

    def __init__(self, input_shape: tuple[int, ...], config: EmbeddingConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        if config.kind is EmbeddingKind.MLP:
            self.layers = _perceptron(math.prod(input_shape), config.channels)
        elif config.kind is EmbeddingKind.CONV4:
            self.layers = _convolutions(input_shape[0], config.channels)
        else:
            self.layers = _residual_blocks(input_shape[0], config.channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, generator=generator)
            if isinstance(module, nn.Linear):
                bound = module.in_features**-0.5
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.no_grad():
            self.eval()
            shape = tuple(self._outputs(torch.zeros(1, *input_shape)).shape[1:])
            self.num_features = math.prod(shape)
            self.map_shape = None if config.kind is EmbeddingKind.MLP else shape
            self.train()

    def forward(self, x: Float[Tensor, "B *X"]) -> Float[Tensor, "B E"]:
        """Embed each example."""
        # contiguous() makes the order of features independent of the memory layout.
        return self._outputs(x).contiguous().flatten(1).to(x.dtype)

    def _outputs(self, x: Float[Tensor, "B *X"]) -> Float[Tensor, "B *F"]:
        """Return the layers' outputs for each example: maps, or a perceptron's features."""
        if self.config.kind is EmbeddingKind.MLP:
            features: Tensor = self.layers(x.flatten(1))
            return features
        is_bfloat16 = self.config.is_bfloat16 and computes_in_bfloat16(x.device.type)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=is_bfloat16):
            maps: Tensor = self.layers(x.contiguous(memory_format=torch.channels_last))
        return maps

    def embed_tasks(self, x: Float[Tensor, "M S *X"]) -> Float[Tensor, "M S E"]:
        """Embed the examples of M tasks."""
        examples = x.flatten(0, 1)
        # While learning the batch is not split, because its statistics are computed over all of it.
        parts = [examples] if self.training else torch.split(examples, EMBEDDED_AT_ONCE)
        return torch.cat([self(part) for part in parts]).view(*x.shape[:2], -1)

    @torch.no_grad()
    def task_statistics(
        self, x: Float[Tensor, "S *X"], *, prior: float
    ) -> tuple[dict[str, Tensor], Float[Tensor, "S E"]]:
        """Return the running statistics moved towards those of a task's support set, layer by layer.

        m ← (1 - w) m + w m_S and v ← (1 - w) v + w v_S with w = S / (S + prior). The input of each layer is normalised
        by the moved statistics of the layers before it. The network itself is not changed.

        Args:
            x: the support set.
            prior: weight of the running statistics, as a number of examples.

        Returns:
            The buffers by name, for :meth:`embed_with`, and the support set's features under them.
        """
        moved = copy.deepcopy(self).eval()
        for module in moved.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_pre_hook(partial(_move_statistics, weight=len(x) / (len(x) + prior)))
        features = moved(x)
        return dict(moved.named_buffers()), features

    @torch.no_grad()
    def embed_with(self, statistics: Mapping[str, Tensor], x: Float[Tensor, "S *X"]) -> Float[Tensor, "S E"]:
        """Embed examples of the task that these statistics belong to."""
        state = {**dict(self.named_parameters()), **statistics}
        return torch.cat([functional_call(self, state, (part,)) for part in torch.split(x, EMBEDDED_AT_ONCE)])


def _move_statistics(norm: nn.BatchNorm2d, inputs: tuple[Tensor], *, weight: float) -> None:
    """Move a layer's statistics towards those of its input, before the layer normalises that input."""
    variance, mean = torch.var_mean(inputs[0].to(torch.float32), (0, 2, 3))
    for running, own in ((norm.running_mean, mean), (norm.running_var, variance)):
        if running is not None:
            running.lerp_(own, weight)


class _ResidualBlock(nn.Module):
    """A residual block y = relu(W_s x + BN(conv(relu(BN(conv(x)))))) (He et al. 2016).

    It may halve its input first.
    """

    def __init__(self, fan_in: int, fan_out: int, *, is_halving: bool) -> None:
        super().__init__()
        self.is_halving = is_halving
        self.first = nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(fan_out)
        self.second = nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(fan_out)
        self.shortcut = nn.Identity() if fan_in == fan_out else nn.Conv2d(fan_in, fan_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.is_halving:
            x = F.max_pool2d(x, 2, ceil_mode=True)
        hidden = self.first_norm(self.first(x)).relu()
        added: Tensor = self.second_norm(self.second(hidden)) + self.shortcut(x)
        return added.relu()


def _convolutions(fan_in: int, channels: tuple[int, ...]) -> nn.Sequential:
    """Return the layers of ``EmbeddingKind.CONV4``.

    Departure: halving comes before normalisation, which then takes a quarter of the work. If a channel's scale is
    positive (it starts at 1), the maximum is at the same place; the statistics are those of the maxima alone.
    """
    layers: list[nn.Module] = []
    for width in channels:
        layers += [
            nn.Conv2d(fan_in, width, 3, padding=1, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        fan_in = width
    return nn.Sequential(*layers)


def _residual_blocks(fan_in: int, channels: tuple[int, ...]) -> nn.Sequential:
    """Return a 5 × 5 convolution of stride 2, then one block per width; the first block does not halve."""
    stem = [nn.Conv2d(fan_in, channels[0], 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(channels[0]), nn.ReLU()]
    blocks = [
        _ResidualBlock(before, after, is_halving=position > 0)
        for position, (before, after) in enumerate(itertools.pairwise(channels))
    ]
    return nn.Sequential(*stem, *blocks)


def _perceptron(fan_in: int, widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(fan_in, width), nn.ReLU()]
        fan_in = width
    return nn.Sequential(*layers[:-1])
