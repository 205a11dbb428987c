from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.service.errors import ServiceError
from agent.service.places import Scope, default_scope, places_of, require_root


def test_root_installs_for_the_machine_and_others_for_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_scope() is Scope.SYSTEM
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_scope() is Scope.USER


def test_only_root_may_change_a_service_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ServiceError, match="only root may") as refused:
        require_root(places_of(Scope.SYSTEM), operation="installing the service")
    assert "--user" in refused.value.hint
    require_root(places_of(Scope.USER), operation="installing the service")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    require_root(places_of(Scope.SYSTEM), operation="installing the service")


def test_the_folders_of_a_user_follow_their_variables() -> None:
    places = places_of(
        Scope.USER,
        variables={"HOME": "/home/ann", "XDG_STATE_HOME": "/srv/state", "XDG_RUNTIME_DIR": "/run/user/7"},
    )
    assert places.data == Path("/srv/state/learnd")
    assert places.unit == Path("/home/ann/.config/systemd/user/learnd.service")
    assert places.environment == Path("/home/ann/.local/share/learnd/venv")
    assert places.runtime == Path("/run/user/7/systemd/private")
