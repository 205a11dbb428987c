"""The tolerant distance: a distance between feature maps that tolerates small displacements.

    d(u, v) = ½ (a(u, v) + a(v, u)),      a(u, v) = Σ_p min_δ |u_p - v_{p+δ}|²

Each place p of one map is compared with nine places of the other map, and the nearest counts: its own place and those
half a place around it. Half places are averages of two neighbours; beyond the border the border is repeated. A stroke
that another writer put half a place higher therefore adds little distance. This is the image distortion model of
handwriting recognition (Keysers et al. 2007, IEEE TPAMI 29(8)). Departure: it is applied to learned maps instead of
pixels and gradients.

The [P, D, N, Q] products would be by far the largest tensor. They are computed in blocks of places that fit the
processor's cache. Only the index of the nearest δ is stored, and the gradients are written by hand.

Shapes: M tasks, Q and N examples, C channels, H rows and W columns, P = H · W places, D = 9 displacements δ.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK_NUMBERS = 1 << 18
"""Number of products in a block: 1 MiB of float32."""

DISPLACED_AT_ONCE = 64
"""Number of examples whose maps are displaced at once without gradients. This bounds memory: each map becomes nine."""


def tolerant_distances(
    left: Float[Tensor, "M Q E"], right: Float[Tensor, "M N E"], *, map_shape: tuple[int, ...]
) -> Float[Tensor, "M Q N"]:
    """Return the distance d of every left example from every right example.

    Args:
        left: features, E = C · H · W.
        right: features to compare with; passing the same tensor as ``left`` halves the work.
        map_shape: (C, H, W).
    """
    forth = _nearest_sums(left, right, map_shape)
    back = forth if left is right else _nearest_sums(right, left, map_shape)
    return 0.5 * (forth + back.mT)


def _nearest_sums(
    left: Float[Tensor, "M Q E"], right: Float[Tensor, "M N E"], map_shape: tuple[int, ...]
) -> Float[Tensor, "M Q N"]:
    """Return the one-way sums a of every left example and every right example."""
    places = left.view(*left.shape[:2], map_shape[0], -1).permute(0, 3, 1, 2).flatten(0, 1).contiguous()
    found = []
    for part in [right] if torch.is_grad_enabled() else torch.split(right, DISPLACED_AT_ONCE, 1):
        sums: Tensor = _NearestDistances.apply(places, _displaced(part, map_shape))  # type: ignore[no-untyped-call]
        found.append(sums.view(len(left), -1, *sums.shape[1:]).sum(1).mT)
    return torch.cat(found, 2)


def _displaced(features: Float[Tensor, "M N E"], map_shape: tuple[int, ...]) -> Float[Tensor, "MP D N C"]:
    """Return the features at p + δ, for every place p of every task and every δ."""
    maps = features.view(*features.shape[:2], *map_shape).permute(0, 3, 4, 1, 2).contiguous()  # [M, H, W, N, C]
    rows = torch.stack(_three_around(maps, 1), 3)
    return torch.stack(_three_around(rows, 2), 4).flatten(3, 4).flatten(0, 2)


def _three_around(maps: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the maps displaced by half a place backwards, by nothing, and by half a place forwards."""
    size = maps.shape[axis]
    first, last = maps.narrow(axis, 0, 1), maps.narrow(axis, size - 1, 1)
    between = 0.5 * (maps.narrow(axis, 0, size - 1) + maps.narrow(axis, 1, size - 1))
    return torch.cat([first, between], axis), maps, torch.cat([between, last], axis)


def _blocks(displaced: Float[Tensor, "P D N C"], num_left: int) -> Iterator[slice]:
    """Yield blocks of places; on an accelerator, one block of all places."""
    num_places, products = len(displaced), displaced.shape[1] * displaced.shape[2] * num_left
    length = max(1, BLOCK_NUMBERS // products) if displaced.device.type == "cpu" else num_places
    for start in range(0, num_places, length):
        yield slice(start, start + length)


class _NearestDistances(torch.autograd.Function):
    """The minimum over δ of |u_p - v_{p+δ}|² for every place, from [P, Q, C] and [P, D, N, C] to [P, N, Q].

    Measured against plain operations of torch 2.13, with gradients, one CPU core: 100 to 106 ms against 116 to 150 (120
    images of 192 maps of 6 × 6, all pairs). Plain operations also store [P, D, N, Q], here 19 MB.
    """

    @staticmethod
    def forward(ctx: Any, places: Tensor, displaced: Tensor) -> Tensor:
        num_places, num_displaced, num_right, _ = displaced.shape
        nearest = places.new_empty(num_places, num_right, places.shape[1])
        which = torch.empty_like(nearest, dtype=torch.uint8)
        for block in _blocks(displaced, places.shape[1]):
            of = displaced[block].flatten(1, 2)
            squares = of.square().sum(2, keepdim=True)
            distances = torch.baddbmm(squares, of, places[block].mT, alpha=-2.0)
            found = distances.view(-1, num_displaced, num_right, places.shape[1]).min(1)
            nearest[block], which[block] = found.values, found.indices
        ctx.save_for_backward(places, displaced, which)
        return nearest.add_(places.square().sum(2).unsqueeze(1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        places, displaced, which = ctx.saved_tensors
        grad_places, grad_displaced = torch.empty_like(places), torch.empty_like(displaced)
        for block in _blocks(displaced, places.shape[1]):
            own, of = places[block], displaced[block].flatten(1, 2)
            grad = 2.0 * grad_outputs[0][block]
            taken = _where_nearest(grad, which[block], displaced.shape[1])
            # d|u - v|²/du = 2 (u - v), summed over the v that are nearest to u. For v the roles are exchanged.
            torch.baddbmm(own * grad.sum(1).unsqueeze(2), taken.mT, of, alpha=-1.0, out=grad_places[block])
            of_them = torch.baddbmm(of * taken.sum(2, keepdim=True), taken, own, alpha=-1.0)
            grad_displaced[block] = of_them.view_as(displaced[block])
        return grad_places, grad_displaced


def _where_nearest(
    grad: Float[Tensor, "P N Q"], which: UInt8[Tensor, "P N Q"], num_displaced: int
) -> Float[Tensor, "P DN Q"]:
    """Return each gradient at the nearest displacement, and 0 at the other displacements."""
    displacements = torch.arange(num_displaced, dtype=torch.uint8, device=grad.device).view(-1, 1, 1)
    return ((which.unsqueeze(1) == displacements) * grad.unsqueeze(1)).flatten(1, 2)
