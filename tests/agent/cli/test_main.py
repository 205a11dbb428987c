"""The command line as a whole."""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

import pytest

from agent.cli import main


def test_a_fault_of_learnd_is_json_for_whoever_asked_for_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**arguments: Any) -> NoReturn:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(main, "app", fail)
    monkeypatch.setattr(sys, "argv", ["learnd", "status", "--json"])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["error"]["found"] == "ZeroDivisionError: of all things"
    assert "Traceback" in told.err


def test_a_fault_of_learnd_is_a_traceback_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**arguments: Any) -> NoReturn:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(main, "app", fail)
    monkeypatch.setattr(sys, "argv", ["learnd", "status"])
    with pytest.raises(ZeroDivisionError):
        main.main()
