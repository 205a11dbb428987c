"""Family files are read, and written so that reading them gives the same family."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from envs.declaration import family_from_declaration, few_shot_from_declaration
from envs.default_families import default_stream
from envs.errors import FamilySpecError
from envs.family import FamilySource, FamilySpec
from envs.family_file import FileDefaults, declaration_of, family_file_text, read_family_file
from envs.gymnasium.wrappers import EnvWrapper
from envs.reference import ReferenceRule
from tests.agent.test_reference_requests import MEASURED

DEFAULTS = FileDefaults(
    reference_steps=7000, ppo_steps=5000, classification_learner="protonet", regression_learner="maml"
)


def read(text: str, path: Path = Path("/somewhere/pole.toml")) -> FamilySpec:
    return read_family_file(text, path=path, defaults=DEFAULTS)


def test_a_file_with_an_entry_is_the_family_that_the_command_line_would_add() -> None:
    assert read('entry = "CartPole-v1"') == family_from_declaration("CartPole-v1", name="pole", reference_steps=7000)


def test_every_key_has_its_meaning(tmp_path: Path) -> None:
    (tmp_path / "maze.py").write_text("")
    spec = read(
        f'''
        entry = "maze.py:Maze"
        name = "grid"
        episodes = 5
        max_steps = 40
        vary = ["kwarg.size=int:4:8", "mode=easy|hard"]
        wrap = ["FlattenObservation", {{name = "maze:Scale", kwargs = {{by = 2}}}}]
        reference = -12.5
        python = "{sys.executable}"
        path = ["lib", "/abs"]
        kwarg = ["walls=[1, 2]", "seed=none"]
        [kwargs]
        fast = true
        ''',
        tmp_path / "any.toml",
    )
    assert (spec.name, spec.entry) == ("grid", "maze:Maze")
    assert (spec.episodes_per_trial, spec.max_episode_steps, spec.reference_return) == (5, 40, -12.5)
    assert [variation.name for variation in spec.variations] == ["size", "mode"]
    assert spec.wrappers == (EnvWrapper(name="FlattenObservation"), EnvWrapper(name="maze:Scale", kwargs={"by": 2}))
    assert spec.kwargs == {"fast": True, "walls": [1, 2], "seed": None}
    assert spec.import_paths == (str(tmp_path), str(tmp_path / "lib"), "/abs")
    assert spec.python == sys.executable


def test_few_shot_families_have_files_too(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    spec = read('entry = "images"\nfew_shot = "5x1"\nqueries = 3', tmp_path / "letters.toml")
    assert (spec.source, spec.name, spec.learner) == (FamilySource.FEW_SHOT, "letters", "protonet")
    assert spec.entry == str(tmp_path / "images")
    assert spec.kwargs == {"ways": 5, "shots": 1, "queries": 3}
    assert read('entry = "sinusoids"').learner == "maml"


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("", 1, "it has no entry"),
        ('entry = "CartPole-v1"\n\nepisodes = many', 3, "it is not TOML"),
        ('entry = "CartPole-v1"\nepisodes = "many"', 2, "episodes is 'many', and should be a whole number"),
        ('entry = "CartPole-v1"\nepisods = 3', 2, "'episods' is not a key of a family file"),
        ('entry = "CartPole-v1"\nepisodes = true', 2, "should be a whole number"),
        ('entry = "CartPole-v1"\n[kwargs]\nwhen = 2026-01-01', 2, "kwargs is"),
        ('entry = "CartPole-v1"\nwrap = [{name = "Crop", kwargs = {when = 2026-01-01}}]', 2, "wrap is"),
        ('entry = "CartPole-v1"\nvary = [{name = "g", values = [2026-01-01]}]', 2, "vary is"),
        ('entry = "CartPole-v1"\n[kwargs]\nlimits = [1.5, nan]', 2, "has a date, a time or NaN"),
        ('entry = "CartPole-v1"\nreference = nan', 2, "has a date, a time or NaN"),
        ('entry = "CartPole-v1"\nrandom_return = nan', 2, "has a date, a time or NaN"),
        ('entry = "CartPole-v1"\nrandom_return = inf', 2, "random_return is inf, and should be a finite number"),
        ('entry = "CartPole-v1"\nvary = [\n  "gravity=5:20",\n  "length"\n]', 4, "length: it has no NAME=VALUES"),
        ('entry = "CartPole-v1"\n\nwrap = ["a b"]', 3, "is not the name of a wrapper"),
        ('entry = "CartPole-v1"\npreset = "atarri"', 2, "there is no such preset"),
        ('entry = "CartPole-v1"\nreference = "high"', 2, "'high' is not a number, ppo"),
        ('\nentry = "nothing.py"', 2, "there is no file /somewhere/nothing.py"),
        ('entry = "CartPole-v1"\nname = "A B"', 1, "the name is not 1 to 48"),
        ('entry = "CartPole-v1"\nshots = 3', 2, "shots does not apply"),
        ('entry = "sinusoids"\nepisodes = 3', 2, "episodes does not apply"),
        ('entry = "CartPole-v1"\npython = "/none"', 2, "there is no such file"),
        ('entry = "CartPole-v1"\nepisodes = ' + "9" * 5000, 2, "it has a number of too many digits"),
        ('entry = "CartPole-v1"\nkwargs.a = ' + "[" * 300 + "]" * 300, 2, "it is nested more than 64 levels deep"),
        ('entry = "CartPole-v1"\nkwarg = ["a=' + "[" * 9000 + '"]', 2, "it is nested more than 64 levels deep"),
        ('entry = "CartPole-v1"\nwrap = ["A:{' + "[" * 9000 + '"]', 2, "is not JSON"),
        ('entry = "CartPole-v1"\nrandom_return = ' + "9" * 400, 2, "and should be a finite number"),
        ('entry = "CartPole-v1"\nreference_steps = -1', 1, "reference_steps is -1"),
        ('entry = "CartPole-v1"\nreference_steps = ' + "9" * 20, 1, "reference_steps is 999"),
        ('\nentry = "~nobody-there/maze.py"', 2, "there is no home folder for ~nobody-there"),
        ('\nentry = "~nobody-there/images"', 2, "there is no home folder for ~nobody-there"),
        ('\nentry = "~nobody-there/images"\nfew_shot = "5x1"', 2, "there is no home folder for ~nobody-there"),
        ('entry = "a:B"\npython = "~nobody-there/venv"', 2, "there is no home folder for ~nobody-there"),
        ('entry = "a:B"\npath = ["~nobody-there"]', 1, "there is no home folder for ~nobody-there"),
        ('\nentry = "' + "a" * 5000 + '.py"', 2, "File name too long"),
        ('entry = "a:B"\npython = "' + "a" * 5000 + '"', 2, "File name too long"),
    ],
)
def test_a_broken_file_is_refused_with_the_line(text: str, line: int, found: str) -> None:
    with pytest.raises(FamilySpecError) as refusal:
        read(text)
    assert refusal.value.found.startswith(f"line {line}: ")
    assert found in refusal.value.found
    assert refusal.value.subject == "/somewhere/pole.toml"


ROUND_TRIPS = [
    family_from_declaration("CartPole-v1", variations=["gravity=5:20", "auto"], reference_steps=7000),
    family_from_declaration("CartPole-v1", reference_rule=ReferenceRule.NONE, max_episode_steps=10),
    family_from_declaration("CartPole-v1", reference_rule=ReferenceRule.PPO, reference_steps=123),
    family_from_declaration("ALE/Pong-v5", preset="atari", reference_return=21.0, kwargs={"mode": None, "a": [None]}),
    family_from_declaration(
        "FrozenLake-v1",
        variations=["kwarg.desc=frozen_lake_map:4:0.8"],
        recurring=9,
        image_size=32,
        kwargs={"x": {"y": 1}},
    ),
    family_from_declaration("my.envs:Maze", variations=["option.mode=1|none"], import_paths=["/a b", "/c"]),
    family_from_declaration(
        "CartPole-v1", wrappers=['w:W:{"x": null}', 'v:V:{"s": "\\u001b[0m \\"q\\""}'], python=sys.executable
    ),
    family_from_declaration("tabular_mdps", kwargs={"horizon": 20}, episodes_per_trial=25),
    family_from_declaration("CartPole-v1", network=True, copies=1),
    few_shot_from_declaration("sinusoids", learner="platipus", kwargs={"shots": 5}),
]


@pytest.mark.parametrize("spec", ROUND_TRIPS, ids=[f"{n} {spec.name}" for n, spec in enumerate(ROUND_TRIPS)])
def test_a_family_written_to_a_file_is_read_as_the_same_family(spec: FamilySpec) -> None:
    assert read(family_file_text(spec)) == spec


def test_a_keyword_argument_that_is_not_a_number_goes_through_a_file() -> None:
    spec = family_from_declaration("CartPole-v1", kwargs={"a": math.nan, "b": [1.0, math.nan], "c": math.inf})
    kwargs = read(family_file_text(spec)).kwargs
    assert math.isnan(kwargs["a"])
    assert (kwargs["b"][0], math.isnan(kwargs["b"][1]), kwargs["c"]) == (1.0, True, math.inf)


@pytest.mark.parametrize("name", ["maze.py:Maze", "my-env.py", "random.py:R"])
def test_a_family_of_a_file_behind_a_link_is_read_as_the_same_family(name: str, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for file in ("maze.py", "my-env.py", "random.py"):
        (tmp_path / "real" / file).write_text("")
    wrappers = ["maze.py:W", 'my-env.py:W:{"x": null}']
    spec = family_from_declaration(name, folder=tmp_path / "link", wrappers=wrappers, reference_steps=7000)
    assert read(family_file_text(spec)) == spec


@pytest.mark.parametrize("spec", default_stream(), ids=lambda spec: spec.name)
def test_the_embedded_families_go_through_a_file_with_their_scale(spec: FamilySpec) -> None:
    assert read(family_file_text(spec)) == declaration_of(spec)
    assert declaration_of(spec).reference_return == spec.reference_return
    assert declaration_of(spec).random_return == spec.random_return


def test_what_was_measured_is_not_declared() -> None:
    spec = family_from_declaration("CartPole-v1", reference_steps=7000)
    measured = replace(spec, reference_return=90.0, reference_source="PPO", measured_reference=MEASURED)
    assert declaration_of(measured) == spec
    assert read(family_file_text(measured)) == spec
