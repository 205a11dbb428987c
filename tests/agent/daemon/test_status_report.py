"""The one-line summary on the index page and in `systemctl status`."""

from __future__ import annotations

from agent.daemon.scheduling.next_job import Work
from agent.daemon.status_report import state_of_learning, state_of_work
from memory.records import JobKind


def test_the_summary_says_that_no_policy_is_published_yet() -> None:
    assert state_of_learning(1, 0) == "1 active family; no policy published yet"


def test_the_summary_names_the_version_that_is_served() -> None:
    assert state_of_learning(6, 3) == "6 active families; policy version 3"


def test_the_summary_names_the_family_that_is_practised() -> None:
    work = Work(kind=JobKind.PRACTISE, family="cartpole", reason="its first practice")
    assert state_of_work(work) == "practise cartpole (its first practice)"
    assert state_of_work(Work(kind=JobKind.EVALUATE, reason="due")) == "evaluate (due)"
