from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from agent.devices import default_threads, with_threads
from envs.errors import EnvsError
from memory.folder import DataFolder
from memory.records import FamilyScore
from memory.store import Store
from tests.agent.cli.conftest import Learnd
from tests.agent.cli.filled_store import pause


@dataclass(frozen=True, kw_only=True)
class EpisodeScore:
    index: int
    mean_return: float
    standard_error: float


@dataclass(frozen=True, kw_only=True)
class VersionScore:
    """A score like that of the real scorer, whose module imports torch."""

    family: str
    num_trials: int = 7
    score: float = 0.5
    standard_error: float = 0.01
    mean_return: float = 300.0
    return_standard_error: float = 5.0
    episodes: tuple[EpisodeScore, ...] = (
        EpisodeScore(index=0, mean_return=80.0, standard_error=2.0),
        EpisodeScore(index=1, mean_return=220.0, standard_error=2.0),
    )


class FakeScorer:
    """A fake scorer with the signature of the real one, which gives every family except ``mdps`` the score 0.5."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, list[str], int | None]] = []
        self.num_threads = 0

    def __call__(
        self,
        store: Store,
        _settings: Any,
        *,
        version: int,
        families: list[str],
        trials: int | None,
        progress: Any,
        on_family: Any,
        on_fault: Any,
    ) -> list[VersionScore]:
        self.num_threads = torch.get_num_threads()
        if "acrobot" in families and trials == 8:
            on_fault(store.families.get("acrobot"), EnvsError(operation="stepping", subject="acrobot", found="it fell"))
            families = [name for name in families if name != "acrobot"]
        self.asked.append((version, families, trials))
        for name in families:
            on_family(store.families.get(name))
        progress("cartpole, 3 steps")
        return [VersionScore(family=name) for name in families if name != "mdps"]


def test_versions_are_listed_newest_first(learnd: Learnd) -> None:
    versions = learnd.json("policy", "list")["versions"]
    assert [version["version"] for version in versions] == [2, 1]
    assert [version["is_current"] for version in versions] == [True, False]
    assert versions[0]["parent"] == 1
    assert {score["family"] for score in versions[0]["scores"]} >= {"bandits", "cartpole"}


def test_a_version_is_shown_by_number_or_as_the_one_served(learnd: Learnd) -> None:
    assert learnd.json("policy", "show")["version"] == 2
    assert learnd.json("policy", "show", "1")["version"] == 1
    assert learnd.json("policy", "show", "v1")["provenance"]["round"] == 4
    assert "parent's return" in learnd("policy", "show").stdout


def test_a_version_of_families_without_a_reference_is_shown_by_returns(learnd: Learnd, filled: DataFolder) -> None:
    score = FamilyScore(
        family="arm",
        score=None,
        standard_error=None,
        published_score=None,
        num_trials=64,
        mean_return=-640.0,
        return_standard_error=31.0,
        published_return=-905.0,
        difference_standard_error=22.0,
    )
    with Store.open(filled) as store:
        tensors = {"w": np.zeros(8, np.float32)}
        store.initializations.publish(tensors, scores=[score], provenance={}, reason="no family fell", parent=2)
    shown = learnd.json("policy", "show")
    assert (shown["version"], shown["mean_score"]) == (3, None)
    assert shown["scores"][0]["mean_return"] == -640.0
    page = learnd("policy", "show").stdout
    assert "-640 ± 31" in page
    assert "-905" in page
    assert learnd("policy", "list").exit_code == 0


def test_an_unknown_version_lists_those_there_are(learnd: Learnd) -> None:
    error = learnd.json("policy", "show", "7", code=1)["error"]
    assert (error["operation"], error["subject"]) == ("showing version", "7")
    assert error["hint"] == "Known versions: 1, 2."


@pytest.mark.parametrize(
    ("words", "operation"),
    [("show", "showing"), ("eval", "scoring"), ("rollback", "rolling back"), ("watch cartpole", "watching")],
)
def test_before_the_first_version_there_is_none_served(tmp_path: Path, words: str, operation: str) -> None:
    Store.open(DataFolder(tmp_path / "new")).close()
    answer = " ".join(Learnd(tmp_path / "new")("policy", *words.split(), code=1).stderr.split())
    assert f"error: {operation} the version served now: nothing is published yet." in answer


def test_a_version_cannot_be_exported_before_the_first_is_published(tmp_path: Path) -> None:
    Store.open(DataFolder(tmp_path / "new")).close()
    result = Learnd(tmp_path / "new")("policy", "export", "1", str(tmp_path / "file"), code=1)
    answer = " ".join(result.stderr.split())
    assert "exporting version 1: there is no such version. Nothing is published yet." in answer


def test_rolling_back_serves_the_parent_again(learnd: Learnd) -> None:
    answer = learnd.json("policy", "rollback", "--reason", "worse here")
    assert (answer["rolled_back"], answer["current"]["version"]) == (2, 1)
    assert learnd.json("status")["policy_version"] == 1
    states = {version["version"]: version["state"] for version in learnd.json("policy", "list")["versions"]}
    assert states == {1: "published", 2: "rolled_back"}


def test_there_is_nothing_to_roll_back_to_from_the_first(learnd: Learnd) -> None:
    learnd("policy", "rollback")
    assert "error" in learnd.json("policy", "rollback", code=1)


def test_rolling_back_to_what_is_served_is_refused(learnd: Learnd) -> None:
    assert "served now" in learnd.json("policy", "rollback", "2", code=1)["error"]["found"]


def test_an_exported_version_carries_its_checksum(learnd: Learnd, tmp_path: Path) -> None:
    file = tmp_path / "policy.safetensors"
    answer = learnd.json("policy", "export", "1", str(file))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert answer["sha256"] == digest
    assert (tmp_path / "policy.safetensors.sha256").read_text() == f"{digest}  policy.safetensors\n"
    assert load_file(file)["w"].tolist() == [4.0] * 8


def test_a_damaged_version_is_not_exported(learnd: Learnd, filled: DataFolder, tmp_path: Path) -> None:
    with Store.open(filled, is_reader=True) as store:
        sha256 = store.initializations.get(1).file.sha256
    stored = filled.parameters_path / f"{sha256}.safetensors"
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(content)
    file = tmp_path / "policy.safetensors"
    assert sha256 in learnd.json("policy", "export", "1", str(file), code=1)["error"]["subject"]
    assert not file.exists()


def test_exporting_to_a_folder_that_is_not_there_is_an_error(learnd: Learnd, tmp_path: Path) -> None:
    assert "error" in learnd.json("policy", "export", "1", str(tmp_path / "no" / "policy.safetensors"), code=1)


@pytest.mark.parametrize("words", [("eval", "9"), ("eval", "--family", "nope")])
def test_scoring_what_is_not_there_is_refused(words: tuple[str, ...], learnd: Learnd) -> None:
    assert "error" in learnd.json("policy", *words, code=1)


def use(scorer: FakeScorer, monkeypatch: pytest.MonkeyPatch) -> FakeScorer:
    """Put a fake scorer in the place of the real one."""
    module = ModuleType("agent.trainer.version_scores")
    module.score_version = scorer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "agent.trainer.version_scores", module)
    return scorer


def test_scoring_leaves_a_core_free_and_restores_the_number_of_threads(
    learnd: Learnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = use(FakeScorer(), monkeypatch)
    with with_threads(7):
        learnd("policy", "eval")
        assert torch.get_num_threads() == 7
    assert scorer.num_threads == default_threads()


def test_scoring_prints_a_line_per_family_on_stderr_without_a_terminal(
    learnd: Learnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(FakeScorer(), monkeypatch)
    words = ("policy", "eval", "1", "--family", "cartpole", "--family", "bandits")
    assert learnd(*words).stderr.splitlines() == ["scoring version 1: cartpole", "scoring version 1: bandits"]
    assert learnd(*words, "--json").stderr == ""


def test_scoring_names_the_version_and_the_families_that_are_practised(
    learnd: Learnd, filled: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check the arguments of the scorer only; the scorer has its own tests."""
    scorer = use(FakeScorer(), monkeypatch)
    pause(filled, "pendulum")
    answer = learnd.json("policy", "eval", "1", "--trials", "7")
    assert scorer.asked == [(1, ["bandits", "mdps", "cartpole", "acrobot", "frozenlake"], 7)]
    assert answer["version"] == 1
    assert answer["left_out"] == ["mdps"]
    bandits = answer["scores"][0]
    assert (bandits["family"], bandits["score"], bandits["num_trials"]) == ("bandits", 0.5, 7)
    assert [episode["mean_return"] for episode in bandits["episodes"]] == [80.0, 220.0]
    assert "0.500 ± 0.010" in learnd("policy", "eval", "--family", "pendulum").stdout
    assert scorer.asked[-1] == (2, ["pendulum"], None)


def test_scoring_goes_on_after_a_family_that_fails_and_says_so(learnd: Learnd, monkeypatch: pytest.MonkeyPatch) -> None:
    use(FakeScorer(), monkeypatch)
    answer = learnd.json("policy", "eval", "1", "--trials", "8", code=1)
    assert answer["faults"] == {"acrobot": "it fell"}
    assert answer["left_out"] == ["mdps"]
    assert "bandits" in {score["family"] for score in answer["scores"]}
    page = learnd("policy", "eval", "1", "--trials", "8", code=1).stdout
    assert "acrobot could not be scored: it fell" in page


def test_a_version_whose_row_is_damaged_is_not_exported(learnd: Learnd, filled: DataFolder, tmp_path: Path) -> None:
    with Store.open(filled) as store, store._connection.transaction("damaging a row"):
        store._connection.execute("UPDATE initializations SET provenance = '{}' WHERE version = 1")
    error = learnd.json("policy", "export", "1", str(tmp_path / "one.safetensors"), code=1)["error"]
    assert "checksum" in error["found"]
    assert not (tmp_path / "one.safetensors").exists()
