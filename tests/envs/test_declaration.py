"""Descriptions of families are made from declarations, or refused."""

from __future__ import annotations

import subprocess
import sys

import pytest

from envs.declaration import default_name, family_from_declaration
from envs.errors import FamilySpecError
from envs.family import FamilySource, FamilySpec
from envs.gymnasium.task_drawing import draw_task
from envs.gymnasium.variations import Variation
from envs.registry import default_stream


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("CartPole-v1", "cartpole"),
        ("ale_py:ALE/Pong-v5", "pong"),
        ("ALE/Pong-v5", "pong"),
        ("minigrid:MiniGrid-Empty-5x5-v0", "minigrid-empty-5x5"),
        ("maze.envs:BigMaze", "bigmaze"),
        ("maze.envs:outer.BigMaze", "bigmaze"),
        ("bernoulli_bandits", "bernoulli_bandits"),
        ("...", "family"),
    ],
)
def test_a_family_s_name_is_made_from_its_entry(entry: str, name: str) -> None:
    assert default_name(entry) == name


def test_a_family_is_put_together() -> None:
    spec = family_from_declaration(
        "CartPole-v1", variations=["length=0.3:1.2"], episodes_per_trial=2, reference_return=400.0
    )
    assert spec == FamilySpec(
        name="cartpole",
        source=FamilySource.GYMNASIUM,
        entry="CartPole-v1",
        variations=(Variation(name="length", low=0.3, high=1.2),),
        episodes_per_trial=2,
        reference_return=400.0,
        reference_source="declared",
    )
    tensor = family_from_declaration("tabular_mdps", kwargs={"horizon": 5})
    assert tensor.source is FamilySource.TENSOR
    assert tensor.episodes_per_trial == 10


@pytest.mark.parametrize(("variations", "episodes"), [((), 1), (("length=0.3:1.2",), 3), (("auto",), 3)])
def test_a_trial_has_several_episodes_only_where_more_than_the_seed_varies(
    variations: tuple[str, ...], episodes: int
) -> None:
    assert family_from_declaration("CartPole-v1", variations=variations).episodes_per_trial == episodes


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"entry": " "}, "names no environment"),
        ({"entry": ":CartPole-v1"}, "has no module before the colon"),
        ({"entry": "mazes: "}, "has no name after the colon"),
        ({"entry": "CartPole-v1", "name": "Cart Pole"}, "the name is not"),
        ({"entry": "CartPole-v1", "variations": ["length=1:2", "length=1:3"]}, "varied more than once"),
        ({"entry": "CartPole-v1", "variations": ["total_mass=sum:masspole+masscart"]}, "no earlier variation draws"),
        ({"entry": "CartPole-v1", "max_episode_steps": 0}, "max_episode_steps is 0"),
        ({"entry": "CartPole-v1", "episodes_per_trial": 0}, "episodes_per_trial is 0"),
        ({"entry": "tabular_mdps", "variations": ["horizon=int:5:10"]}, "takes no variations"),
    ],
)
def test_a_family_that_contradicts_itself_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(FamilySpecError, match=words):
        family_from_declaration(**settings)  # type: ignore[arg-type]


def test_automatic_variations_need_two_episodes_and_may_be_combined() -> None:
    with pytest.raises(FamilySpecError, match="too short"):
        family_from_declaration("CartPole-v1", variations=["auto"], episodes_per_trial=1)
    both = family_from_declaration("CartPole-v1", variations=["observations", "observations=scale"])
    assert len(both.variations) == 2
    with pytest.raises(FamilySpecError, match="more than once"):
        family_from_declaration("CartPole-v1", variations=["sticky", "sticky=0.5"])


def test_every_default_family_survives_being_written_down() -> None:
    for spec in default_stream():
        assert FamilySpec.from_json(spec.to_json()) == spec


def test_a_task_is_drawn_the_same_again_and_within_its_ranges() -> None:
    cartpole = next(spec for spec in default_stream() if spec.name == "cartpole")
    tasks = [draw_task(cartpole.variations, entropy=(1, index)) for index in range(200)]
    assert tasks == [draw_task(cartpole.variations, entropy=(1, index)) for index in range(200)]
    lengths = [task.attributes["length"] for task in tasks]
    assert 0.25 <= min(lengths) < 0.3
    assert 0.95 < max(lengths) <= 1.0


def test_reading_families_loads_no_torch() -> None:
    program = (
        "import sys, envs.declaration, envs.registry, envs.limits, envs.default_families;"
        "envs.registry.default_stream();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
