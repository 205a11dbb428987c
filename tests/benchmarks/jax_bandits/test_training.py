"""The compiled peer of the benchmark: told apart from nothing where there is no JAX, and right where there is."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

from benchmarks.jax_bandits import training
from benchmarks.jax_bandits.peer import Peer, jax_rate

SMALL = Peer.of_size(8, 6, num_trials=16)


def test_an_interpreter_without_jax_gives_no_peer(tmp_path: Path) -> None:
    # -S leaves out site-packages: an interpreter with the standard library alone.
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -E -s -S "$@"\n')
    bare.chmod(0o755)
    assert jax_rate(SMALL, seconds=0.1, python=str(bare)) is None


def test_a_peer_that_fails_is_told_with_its_words(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho out of luck >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(RuntimeError, match="out of luck"):
        jax_rate(SMALL, seconds=0.1, python=str(broken))


def test_the_hand_written_gradient_is_autograds() -> None:
    jax = pytest.importorskip("jax")
    pytest.importorskip("optax")
    state = training.initial_state(SMALL, 0)
    trials, features = training.rollout(SMALL, state.parameters, state.key)
    aims = (features[..., 0], features[..., 1])
    by_hand, by_autograd = (
        jax.grad(partial(training._loss, peer))(state.parameters, trials, *aims)
        for peer in (SMALL, Peer.of_size(8, 6, num_trials=16, is_plain=True))
    )
    for name, found in by_hand.items():
        assert float(abs(found - by_autograd[name]).max()) < 1e-6, name
