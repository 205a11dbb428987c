"""A variation that a reset puts back, or that nothing reads, does not pass without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases.conftest import Learnd

pytestmark = pytest.mark.slow


def test_an_attribute_that_a_reset_puts_back_is_refused(learnd: Learnd, inputs: Callable[[str], Path]) -> None:
    added = learnd("env", "add", "glider:Glider", "--path", str(inputs("variation-undone")), "--vary", "wind=0.2:3")
    said = " ".join(added.stdout.split())
    assert added.returncode == 1, said
    assert "a reset changes the varied attribute 'wind'" in said
    assert "which was drawn for a task, to 1.0" in said


def test_an_option_that_no_reset_reads_is_told(learnd: Learnd) -> None:
    added = learnd("env", "add", "CartPole-v1", "--vary", "option.gravity=5:15")
    said = " ".join(added.stdout.split())
    assert added.returncode == 0, said
    assert "Varying the reset option 'gravity' changed nothing" in said
