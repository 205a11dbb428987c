"""Case: ``TZ`` is a POSIX string, or names no time zone."""

from __future__ import annotations

import pytest

from tests.cases.conftest import Learnd

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("zone", ["UTC-3", "CET-1CEST,M3.5.0,M10.5.0/3", ":Europe/Berlin", "/etc/localtime", ""])
@pytest.mark.parametrize("backup", ["1d", "cron: 0 3 * * *"])
def test_the_service_starts_in_every_zone_that_the_c_library_knows(learnd: Learnd, zone: str, backup: str) -> None:
    learnd.environment |= {"TZ": zone, "LEARND_JOBS__BACKUP": backup}
    assert learnd("config", "check").returncode == 0
    ran = learnd("run", "--for", "3")
    assert ran.returncode == 0, ran.stdout
    assert " ready " in ran.stdout
    assert "Traceback" not in ran.stdout


def test_a_zone_that_there_is_not_is_refused_by_check_and_run_in_one_sentence(learnd: Learnd) -> None:
    learnd.environment |= {"TZ": "Europe/Nowhere"}
    checked, ran = learnd("config", "check"), learnd("run", "--for", "3")
    assert (checked.returncode, ran.returncode) == (1, 2)
    for answer in (checked, ran):
        assert "Europe/Nowhere" in answer.stdout
        assert "Traceback" not in answer.stdout
        assert len(answer.stdout.splitlines()) <= 2
