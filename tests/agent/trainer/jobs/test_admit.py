"""Tests of the admit job: a refusal is stored as one line, and the traceback goes to the log."""

from __future__ import annotations

import structlog.testing

from agent.trainer.jobs.admit import admit
from memory.records import FamilyState, JobOutcome
from memory.store import Store
from tests.agent.trainer.conftest import SessionMaker
from tests.envs.families import broken


def test_a_refusal_is_one_line_with_the_user_s_line_and_its_traceback_is_in_the_log(
    store: Store, open_session: SessionMaker
) -> None:
    family = store.families.add(broken("RaisesWhileMaking"))
    with structlog.testing.capture_logs() as entries:
        outcome, detail = admit(open_session(store), family)
    assert outcome is JobOutcome.SUCCEEDED
    refused = store.families.get(family.name)
    assert refused.state is FamilyState.REFUSED
    assert refused.state_reason == detail["reason"]
    assert "making it raised FileNotFoundError: blueprint.xml" in refused.state_reason
    assert "broken_environments.py, line" in refused.state_reason
    assert "Traceback" not in refused.state_reason
    assert "\n" not in refused.state_reason
    [entry] = [entry for entry in entries if entry["event"] == "family refused"]
    assert "Traceback" in entry["detail"]
