"""Small deformations of images, which imitate the same character in another handwriting.

An image is warped by an affine map and by a smooth bend. The affine map is

    x ↦ O A x + t,   A = R(φ) [[s_x, k], [l, s_y]]

The bend is a coarse grid of random displacements, interpolated bicubically. O is one of the eight symmetries of the
square, which turn a class of characters into another class (Santoro et al. 2016, arXiv:1605.06065, section 4.1, for the
four rotations).

Shapes: I images, R their side in pixels, P the side of the result, G the side of the bend's grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's convention)
from numpy.typing import NDArray
from torch import Tensor

BEND_GRID = 4
"""Side of the grid of displacements that bends an image."""

_TURNS = np.array([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]], dtype=np.float32)
ORIENTATIONS = np.concatenate([_TURNS, _TURNS @ np.array([[-1, 0], [0, 1]], dtype=np.float32)])
"""[8, 2, 2]: the four turns, and the four turns of the mirrored image."""


@dataclass(frozen=True, kw_only=True)
class WarpConfig:
    """Limits of an image's deformation. Numbers are drawn uniformly within their limits, except the bend.

    Attributes:
        rotation_degrees: φ lies within ± this.
        log_scale: log s_x and log s_y lie within ± this.
        shear: k and l lie within ± this.
        shift: each component of t lies within ± this fraction of the image's side.
        bend: standard deviation of the bend's normal displacements, as a fraction of the image's side.
    """

    rotation_degrees: float = 15.0
    log_scale: float = 0.2
    shear: float = 0.2
    shift: float = 0.08
    bend: float = 0.025


@dataclass(frozen=True, kw_only=True)
class Warp:
    """The warps of I images, in coordinates that run from −1 to 1 over the image.

    Attributes:
        maps: [I, 2, 3] float32, [O A | t], from a point of the result to the point of the image that is shown there.
        bends: [I, 2, G, G] float32 displacements; None does not bend.
    """

    maps: NDArray[np.float32]
    bends: NDArray[np.float32] | None = None


def draw_warp(config: WarpConfig | None, orientations: NDArray[np.int64], *, generator: np.random.Generator) -> Warp:
    """Draw one warp per image.

    Args:
        config: the limits; None only turns and mirrors.
        orientations: [I] index into ``ORIENTATIONS`` of each image.
        generator: the source of the numbers.
    """
    turned = ORIENTATIONS[orientations]
    num_images = len(orientations)
    if config is None:
        return Warp(maps=np.concatenate([turned, np.zeros((num_images, 2, 1), np.float32)], axis=2))
    draws = generator.uniform(-1.0, 1.0, size=(7, num_images))
    angle = draws[0] * math.radians(config.rotation_degrees)
    scale_x, scale_y = np.exp(draws[1:3] * config.log_scale)
    shear_x, shear_y = draws[3:5] * config.shear
    rotation = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)
    stretch = np.stack([scale_x, shear_x, shear_y, scale_y], axis=1).reshape(-1, 2, 2)
    shift = 2.0 * config.shift * draws[5:7].T[:, :, None]
    maps = np.concatenate([turned @ rotation @ stretch, shift], axis=2).astype(np.float32)
    if not config.bend:
        return Warp(maps=maps)
    bends = generator.standard_normal((num_images, 2, BEND_GRID, BEND_GRID), dtype=np.float32)
    return Warp(maps=maps, bends=bends * np.float32(2.0 * config.bend))


def scaled(warp: Warp, factor: float, *, num_images: int) -> Warp:
    """Repeat one image's warp for several images, with a field of view ``factor`` times as wide.

    A factor of 2 halves the size of what is shown.
    """
    maps = warp.maps * np.array([factor, factor, 1.0], dtype=np.float32)
    bends = None if warp.bends is None else np.repeat(warp.bends * np.float32(factor), num_images, axis=0)
    return Warp(maps=np.repeat(maps, num_images, axis=0), bends=bends)


def smooth_for(images: Tensor, size: int) -> Tensor:
    """Replace each pixel by the mean of the square around it that one pixel of the reduced image covers.

    Args:
        images: [I, R, R] uint8.
        size: P; the square's side is the odd number at or below R / P.

    Returns:
        [I, R, R] uint8.
    """
    width = max(1, images.shape[1] // size)
    width -= 1 - width % 2
    if width == 1:
        return images
    smoothed = [
        F.avg_pool2d(part.unsqueeze(1).to(torch.float32), width, stride=1, padding=width // 2).round().to(torch.uint8)
        for part in torch.split(images, 256)
    ]
    return torch.cat(smoothed).squeeze(1)


def apply_warp(images: Tensor, warp: Warp, *, size: int) -> Tensor:
    """Warp images and resize them.

    Args:
        images: [I, R, R] uint8, background 0, smoothed for the new size by :func:`smooth_for`.
        warp: the I warps.
        size: P.

    Returns:
        [I, 1, P, P] float32 in [0, 1].
    """
    num_images = len(images)
    pixels = images.unsqueeze(1).to(torch.float32).mul_(1.0 / 255.0)
    maps = torch.from_numpy(warp.maps).to(images.device)
    points = F.affine_grid(maps, [num_images, 1, size, size], align_corners=False)
    if warp.bends is not None:
        bends = torch.from_numpy(warp.bends).to(images.device)
        bent = F.interpolate(bends, size=(size, size), mode="bicubic", align_corners=True)
        points = points + bent.permute(0, 2, 3, 1)
    return F.grid_sample(pixels, points, mode="bilinear", padding_mode="zeros", align_corners=False)
