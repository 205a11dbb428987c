from __future__ import annotations

import json
import math

import pytest

from agent.cli.main import main
from agent.output.json_values import to_json_text, to_json_values
from memory.records import CurveMetric, CurvePoint


def test_what_json_cannot_hold_becomes_null() -> None:
    values = {"a": math.nan, "b": [math.inf, 1.5], "c": CurveMetric.LOSS}
    assert json.loads(to_json_text(values)) == {"a": None, "b": [None, 1.5], "c": "loss"}


def test_a_record_becomes_its_fields() -> None:
    point = CurvePoint(metric=CurveMetric.EVAL_SCORE, value=0.5)
    assert to_json_values(point) == {"metric": "eval_score", "value": 0.5, "label": "", "standard_error": None}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["env", "add", "--json"], "ENTRY"),
        (["env", "lst", "--json"], "list"),
        (["status", "--json", "--watch", "--every", "soon"], "--every"),
        (["status", "--json", "--loudly"], "--loudly"),
    ],
)
def test_a_wrong_command_line_is_told_as_json_where_json_is_asked_for(
    words: list[str], found: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["learnd", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert found in error["found"]
    assert error["subject"] == " ".join(["learnd", *words])
