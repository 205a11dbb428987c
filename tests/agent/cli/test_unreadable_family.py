"""Tests that commands work with one family whose spec cannot be read, among others that can."""

from __future__ import annotations

import json

import pytest

from agent.cli import doctor_service
from agent.cli.doctor_findings import Verdict
from memory.folder import DataFolder
from memory.store import Store
from tests.agent.cli.conftest import Learnd
from tests.agent.cli.examining import examined
from tests.memory.making import rewrite_spec

NEWER = {"name": "cartpole", "source": "quantum", "entry": "CartPole-v1"}


@pytest.fixture(autouse=True)
def _rewritten(filled: DataFolder) -> None:
    with Store.open(filled) as store:
        rewrite_spec(store, "cartpole", json.dumps(NEWER))


@pytest.mark.parametrize(
    "command",
    ["status", "env list", "curves", "memory stats", "policy list", "schedule list", "env show bandits"],
)
def test_commands_go_on_working(learnd: Learnd, command: str) -> None:
    assert learnd.json(*command.split())
    assert learnd(*command.split()).stdout


def test_status_lists_every_family(learnd: Learnd) -> None:
    assert len(learnd.json("status")["families"]) == 6


def test_the_list_shows_it_as_refused_and_the_others_as_they_are(learnd: Learnd) -> None:
    families = {family["name"]: family for family in learnd.json("env", "list")["families"]}
    assert families["cartpole"]["state"] == "refused"
    assert "does not know its source, 'quantum'" in families["cartpole"]["state_reason"]
    assert {family["state"] for name, family in families.items() if name != "cartpole"} == {"active"}
    assert families["cartpole"]["env_steps"] > 0


def test_its_page_shows_the_reason_and_the_stored_spec(learnd: Learnd) -> None:
    shown = learnd.json("env", "show", "cartpole")
    assert (shown["state"], shown["spec"], shown["spaces"]) == ("refused", NEWER, None)
    page = learnd("env", "show", "cartpole").stdout
    assert "does not know its source, 'quantum'" in page
    assert "Use the version of learnd that wrote it" in page


def test_its_curve_is_shown(learnd: Learnd) -> None:
    [curve] = learnd.json("curves", "cartpole")["families"]
    assert curve["points"]


def test_doctor_warns_of_it(filled: DataFolder) -> None:
    with examined(filled) as context:
        [finding] = doctor_service.families(context)
    assert finding.verdict is Verdict.WARN
    assert "cartpole is refused: its spec cannot be read" in finding.found
    assert "remove the family and add it again" in finding.hint


def test_doctor_finds_no_damage_in_it(learnd: Learnd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARND_SERVICE__LISTEN", "127.0.0.1:0")
    learnd.folder.chmod(0o700)
    assert learnd.json("doctor")["verdict"] == "warn"


def test_it_can_be_paused_and_removed_but_not_resumed(learnd: Learnd) -> None:
    refusal = learnd("env", "resume", "cartpole", code=1).stderr
    assert "does not know its source, 'quantum'" in refusal
    assert "remove the family and add it again" in " ".join(refusal.split())
    learnd("env", "pause", "cartpole")
    assert learnd.json("env", "remove", "cartpole")["family"]["state"] == "removed"


def test_learning_it_is_an_error_with_the_reason(learnd: Learnd) -> None:
    refusal = learnd("learn", "rl2", "--family", "cartpole", "--budget", "1s", code=1).stderr
    assert "does not know its source, 'quantum'" in refusal
