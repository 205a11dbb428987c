"""Counter-based random numbers: functions of (family, split, task, position) only.

A task and its noise are the same on every device, in batches of every size and in every order of requests, because
every number is a hash of its own position. The hash is SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable
pseudorandom number generators"), seeded once per task.

Shapes: B trials, M tasks, N numbers a task, H hashes.
"""

from __future__ import annotations

import json
import math
from typing import Any

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from envs.family import Split
from envs.seeds import key_of

GOLDEN_GAMMA = 0x9E3779B97F4A7C15
ROW_GAMMA = 0xD1342543DE82EF95
"""Distance between the streams of one task's rows: another odd number, so streams do not meet within their length."""
EXPOSURE_GAMMA = 0xAEF17502108EF2D9
"""Distance between the streams of one task's exposures: an odd number."""
CACHED_HASHES = 1 << 15
"""Number of hashes computed at once on a CPU: 256 KiB."""


def stream_key(entry: str, kwargs: dict[str, Any], split: Split, purpose: str) -> int:
    """Return the 64-bit key of one stream of a family's numbers.

    Args:
        entry: the tensor family's name.
        kwargs: its settings.
        split: training or held-out tasks.
        purpose: the use of the numbers ("tasks", "noise").
    """
    return key_of(json.dumps([entry, kwargs, split.value, purpose], sort_keys=True))


def task_seeds(key: int, first_task: int | Tensor, num_tasks: int, device: torch.device) -> Int64[Tensor, "M"]:
    """Return one seed per task: ``mix(key + task · γ)``.

    Args:
        key: the stream's key.
        first_task: index of the first task; a tensor [] on the device if it must not be a constant of a captured
            program.
        num_tasks: M.
        device: device of the seeds.
    """
    return seeds_of(key, torch.arange(num_tasks, dtype=torch.int64, device=device) + first_task)


def seeds_of(key: int, tasks: Int64[Tensor, "M"]) -> Int64[Tensor, "M"]:
    """Return the seeds of the tasks with these indices."""
    return _mix(tasks * _signed(GOLDEN_GAMMA) + _signed(key))


def exposure_seeds(seeds: Int64[Tensor, "M"], exposures: Int64[Tensor, "M"]) -> Int64[Tensor, "M"]:
    """Return the seeds of tasks that were played ``exposures`` times before; those of 0 are the tasks' own."""
    return seeds + exposures * _signed(EXPOSURE_GAMMA)


def noise_seeds(seeds: Int64[Tensor, "M"], rows_per_task: int) -> Int64[Tensor, "B"]:
    """Return one seed per row, if R consecutive rows are one task.

    The first row of a task has the task's own seed, the other rows have different ones.

    Args:
        seeds: the result of :func:`task_seeds`, one per task.
        rows_per_task: R.
    """
    offsets = torch.arange(rows_per_task, dtype=torch.int64, device=seeds.device) * _signed(ROW_GAMMA)
    return (seeds.unsqueeze(1) + offsets).flatten()


def uniform(seeds: Int64[Tensor, "B"], start: int, count: int) -> Float[Tensor, "B N"]:
    """Return numbers ``start … start + count - 1`` of each task's stream, uniform in [0, 1) on multiples of 2⁻²⁴."""
    return _words(seeds, start, count).to(torch.float32).mul_(2.0**-24)


def uniform_at(seeds: Int64[Tensor, "B"], index: Int64[Tensor, "B"], count: int) -> Float[Tensor, "B N"]:
    """Return the ``index``-th run of ``count`` numbers of each stream, with a separate index for each row.

    Adding γ to a seed moves its stream by one hash, which is two numbers, so ``count`` is even.
    """
    return uniform(seeds + index * (count // 2) * _signed(GOLDEN_GAMMA), 0, count)


def exponential(seeds: Int64[Tensor, "B"], start: int, count: int) -> Float[Tensor, "B N"]:
    """Return standard exponential numbers, ``-log(1 - u)``."""
    return uniform(seeds, start, count).neg_().log1p_().neg_()


def normal(seeds: Int64[Tensor, "B"], start: int, count: int) -> Float[Tensor, "B N"]:
    """Return standard normal numbers, by the Box-Muller transform of two uniform numbers each."""
    pairs = uniform(seeds, 2 * start, 2 * count)
    radius = pairs[:, 0::2].neg().log1p_().mul_(-2.0).sqrt_()
    return radius.mul_(torch.cos(pairs[:, 1::2] * (2.0 * math.pi)))


def _words(seeds: Int64[Tensor, "B"], start: int, count: int) -> Int[Tensor, "B N"]:
    """Return 24-bit words, two from each hash (one per half)."""
    first, last = start // 2, (start + count + 1) // 2
    positions = torch.arange(first + 1, last + 1, dtype=torch.int64, device=seeds.device)
    if seeds.device.type != "cpu":
        return _cut(_mix(seeds.unsqueeze(1) + positions * _signed(GOLDEN_GAMMA)), start, count)
    # On a CPU, blocks that fit the cache take half the time.
    offsets = positions * _signed(GOLDEN_GAMMA)
    words = torch.empty(len(seeds), count, dtype=torch.int32)
    rows = max(1, CACHED_HASHES // max(1, len(offsets)))
    for row in range(0, len(seeds), rows):
        words[row : row + rows] = _cut(_mix(seeds[row : row + rows].unsqueeze(1) + offsets), start, count)
    return words


def _cut(bits: Int64[Tensor, "B H"], start: int, count: int) -> Int[Tensor, "B N"]:
    halves = bits.view(torch.int32)[:, start % 2 : start % 2 + count]
    return (halves >> 8).bitwise_and_(0xFFFFFF)


def _mix(bits: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """Apply SplitMix64's finaliser in place.

    int64 products wrap around. Masking the copies of the sign bit makes the right shift logical.
    """
    bits.bitwise_xor_(_shifted(bits, 30)).mul_(_signed(0xBF58476D1CE4E5B9))
    bits.bitwise_xor_(_shifted(bits, 27)).mul_(_signed(0x94D049BB133111EB))
    return bits.bitwise_xor_(_shifted(bits, 31))


def _shifted(bits: Int64[Tensor, "*shape"], places: int) -> Int64[Tensor, "*shape"]:
    return (bits >> places).bitwise_and_((1 << (64 - places)) - 1)


def _signed(word: int) -> int:
    word &= (1 << 64) - 1
    return word - (1 << 64) if word >= 1 << 63 else word
