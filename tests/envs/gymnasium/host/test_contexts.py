"""Tests of the digests of contexts by which tasks are recognised."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from envs.gymnasium.host.contexts import context_digest
from envs.gymnasium.host.inspection import Findings, Inspector


def digest_of(context: Any) -> str | None:
    return context_digest({"context": context})


def test_equal_contexts_have_equal_digests_and_others_do_not() -> None:
    contexts = ["a", "b", "", 0, 1, 2.0, 2.5, [1], [1, 2], [[1], [2]], [1.0, 2.0], [0.0, -1.0], np.arange(3)]
    digests = [digest_of(context) for context in contexts]
    assert None not in digests
    assert len(set(digests)) == len(contexts)
    assert digest_of((1, 2)) == digest_of(np.array([1, 2], np.uint8)) == digest_of([1, 2])
    assert digest_of(np.float32(2.5)) == digest_of(2.5)
    assert digest_of([0.0, -1.0]) == digest_of(np.array([-0.0, -1.0]))


@pytest.mark.parametrize(
    "context",
    [
        None,
        {"a": 1},
        object(),
        "x" * 257,
        [1, "a"],
        [[1], [1, 2]],
        np.zeros(65),
        [0] * 300,
        1 << 90,
        b"bytes",
        float("nan"),
        np.array([1.0, np.nan]),
    ],
    ids=[
        "none",
        "dict",
        "object",
        "long text",
        "mixed",
        "ragged",
        "long array",
        "long list",
        "huge number",
        "bytes",
        "nan",
        "array with nan",
    ],
)
def test_a_context_that_is_too_long_or_no_number_or_text_identifies_no_task(context: Any) -> None:
    assert digest_of(context) is None


@pytest.mark.parametrize("info", [None, {}, [], "context"])
def test_an_info_without_a_context_identifies_no_task(info: Any) -> None:
    assert context_digest(info) is None


@pytest.mark.parametrize(("info", "num_findings"), [({"context": {"a": 1}}, 1), ({"context": None}, 0), ({}, 0)])
def test_the_check_of_an_environment_finds_a_context_that_is_not_used(info: Any, num_findings: int) -> None:
    findings, env = Findings(), gymnasium.Env[Any, Any]()
    env.observation_space = gymnasium.spaces.Discrete(2)
    Inspector(env, findings).inspect_reset((0, info))
    assert [found["kind"] for found in findings.to_json()] == ["context_unused"] * num_findings
