"""Tests of findings: their severities, their texts, and the table of the documentation."""

from __future__ import annotations

import re

from envs.errors import FamilySpecError, FaultReason, WorkerFaultError
from envs.findings import HINTS, NOTES, WARNINGS, FindingKind, Severity, finding, refusal
from tests.repository import ROOT


def test_every_kind_is_documented_with_its_severity() -> None:
    page = (ROOT / "docs" / "environments.md").read_text()
    documented = dict(re.findall(r"^\| `([a-z_]+)` \| (refused|warning|note) \|", page, re.MULTILINE))
    assert documented == {str(kind): str(finding(kind, "x").severity) for kind in FindingKind}


def test_no_kind_is_both_a_warning_and_a_note() -> None:
    assert not WARNINGS & NOTES


def test_a_finding_has_the_severity_and_the_hint_of_its_kind_unless_another_hint_is_given() -> None:
    found = finding(FindingKind.WRONG_DTYPE, "it is float64.", call="step")
    assert (found.severity, found.hint, found.is_refusal) == (
        Severity.WARNING,
        HINTS[FindingKind.WRONG_DTYPE],
        False,
    )
    assert finding(FindingKind.NO_END, "none ended.", hint="Wait.").hint == "Wait."


def test_the_text_names_the_call_or_begins_as_a_sentence() -> None:
    assert (
        finding(FindingKind.CHECKER, "it is odd.", call="step", hint="Mend it.").text() == "step: it is odd. Mend it."
    )
    assert finding(FindingKind.CHECKER, "it is odd.").text() == "It is odd."


def test_a_refusal_becomes_the_error_that_was_raised_or_one_of_its_own() -> None:
    error = WorkerFaultError(subject="maze", reason=FaultReason.HUNG, found="it hung.", detail="Traceback")
    assert refusal(error).to_error("maze") is error
    assert refusal(error).to_json()["detail"] == "Traceback"
    own = finding(FindingKind.STEP_RESULT, "it returned nothing.", call="step").to_error("maze")
    assert isinstance(own, FamilySpecError)
    assert str(own).startswith("admitting family 'maze': step: it returned nothing. Return (observation, reward")
