"""Alphabets of made-up characters, so that few-shot learning needs no download.

An alphabet is a small set of stroke shapes. A character consists of one to four of them, each scaled, and placed
anywhere or joined to a point of an earlier stroke. A drawing of the character moves every control point a little, and
applies the slant and proportions of its drawer, which are the same for all characters of the alphabet. (In outline this
is the generative model of Lake, Salakhutdinov & Tenenbaum 2015, Science 350:1332. Departure: the parts are made up
instead of learned.)

Shapes: E drawings of a character (one per drawer), S strokes, P control points a stroke, T points along a stroke, R the
image's side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's convention)
from numpy.typing import NDArray

from envs.few_shot.images.classes import ImageClasses, gather_classes

CONTROL_POINTS = 5
POINTS_ALONG = 96
STROKE_COUNT_CHANCES = (0.2, 0.35, 0.3, 0.15)


@dataclass(frozen=True, kw_only=True)
class GlyphConfig:
    """Settings of made-up characters; lengths are shares of the image's side.

    Attributes:
        alphabets: number of alphabets.
        characters: number of characters in each alphabet.
        drawers: E, images of each character.
        stroke_shapes: number of stroke shapes in each alphabet.
        size: R.
        point_jitter: standard deviation of a control point between drawings.
        place_jitter: standard deviation of a stroke's place between drawings.
        slant: standard deviation of each entry of a drawer's linear map about the identity (shear and proportions).
        seed: another seed draws other alphabets.
    """

    alphabets: int = 16
    characters: int = 20
    drawers: int = 16
    stroke_shapes: int = 7
    size: int = 56
    point_jitter: float = 0.022
    place_jitter: float = 0.022
    slant: float = 0.12
    seed: int = 0


def draw_glyphs(config: GlyphConfig | None = None, *, report: Callable[[int], None] | None = None) -> ImageClasses:
    """Draw every character of every alphabet; the groups are the alphabets.

    Args:
        config: the settings; None takes the defaults.
        report: called with the number of images drawn so far.
    """
    return gather_classes(_classes(config or GlyphConfig(), report))


def _classes(
    config: GlyphConfig, report: Callable[[int], None] | None
) -> Iterator[tuple[str, str, list[NDArray[np.uint8]]]]:
    num_drawn = 0
    for alphabet in range(config.alphabets):
        for character, drawings in enumerate(_alphabet(config, np.random.default_rng([config.seed, alphabet]))):
            yield f"alphabet{alphabet:02d}", f"character{character:02d}", list(drawings)
            num_drawn += len(drawings)
            if report is not None:
                report(num_drawn)


def _alphabet(config: GlyphConfig, generator: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    shapes = np.stack([_stroke_shape(generator) for _ in range(config.stroke_shapes)])
    slants = np.eye(2) + generator.normal(0.0, config.slant, (config.drawers, 2, 2))
    for _ in range(config.characters):
        strokes = _character(shapes, generator)
        yield _draw(strokes, slants, config, generator)


def _stroke_shape(generator: np.random.Generator) -> NDArray[np.float64]:
    """Return [P, 2] control points centred at the origin: a random walk, from straight to curled."""
    turn = generator.choice([0.0, 0.5, 1.2]) * generator.choice([-1.0, 1.0])
    angles = generator.uniform(0.0, 2.0 * math.pi) + np.cumsum(generator.normal(turn, 0.5, CONTROL_POINTS - 1))
    steps = np.stack([np.cos(angles), np.sin(angles)], axis=1) * generator.uniform(0.5, 1.5, (CONTROL_POINTS - 1, 1))
    points = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    points -= points.mean(axis=0)
    shape: NDArray[np.float64] = points / np.abs(points).max()
    return shape


def _character(shapes: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Return [S, P, 2] control points within the unit square."""
    strokes: list[NDArray[np.float64]] = []
    for _ in range(1 + generator.choice(len(STROKE_COUNT_CHANCES), p=STROKE_COUNT_CHANCES)):
        stroke = shapes[generator.integers(len(shapes))] * generator.uniform(0.15, 0.4)
        if strokes and generator.random() < 0.6:
            joined = strokes[generator.integers(len(strokes))]
            stroke = stroke - stroke[0] + joined[generator.integers(CONTROL_POINTS)]
        else:
            stroke = stroke + generator.uniform(0.3, 0.7, 2)
        strokes.append(stroke)
    character = np.stack(strokes)
    low, high = character.min(axis=(0, 1)), character.max(axis=(0, 1))
    extent = float((high - low).max())
    wanted = min(max(extent, 0.45), 0.75)
    placed: NDArray[np.float64] = (character - (low + high) / 2) * (wanted / extent) + 0.5
    return placed


def _draw(
    strokes: NDArray[np.float64], slants: NDArray[np.float64], config: GlyphConfig, generator: np.random.Generator
) -> NDArray[np.uint8]:
    """Return [E, R, R] drawings of one character."""
    num_drawings = len(slants)
    points = strokes + generator.normal(0.0, config.point_jitter, (num_drawings, *strokes.shape))
    points += generator.normal(0.0, config.place_jitter, (num_drawings, len(strokes), 1, 2))
    points = np.einsum("eij,espj->espi", slants, points - 0.5) + 0.5
    along = np.einsum("tp,espi->esti", _bezier_weights(), points).reshape(num_drawings, -1, 2)
    pixels = np.clip((along * config.size).astype(np.int64), 1, config.size - 2)
    drawings = np.zeros((num_drawings, config.size, config.size), dtype=np.float32)
    drawings[np.arange(num_drawings)[:, None], pixels[..., 1], pixels[..., 0]] = 255.0
    width = 3 if config.size >= 84 else 2
    thick = F.max_pool2d(torch.from_numpy(drawings), width, stride=1, padding=1)
    return thick[:, : config.size, : config.size].numpy().astype(np.uint8)


def _bezier_weights() -> NDArray[np.float64]:
    """Return [T, P] Bernstein polynomials at T evenly spaced parameters."""
    degree = CONTROL_POINTS - 1
    t = np.linspace(0.0, 1.0, POINTS_ALONG)[:, None]
    k = np.arange(CONTROL_POINTS)[None, :]
    binomials = np.array([math.comb(degree, int(i)) for i in range(CONTROL_POINTS)])
    weights: NDArray[np.float64] = binomials * t**k * (1.0 - t) ** (degree - k)
    return weights
