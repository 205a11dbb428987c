"""All dashboards, and their files."""

from __future__ import annotations

from monitoring.dashboards.frame import as_json
from monitoring.dashboards.learning import ADAPTATION, CONTINUAL, LEARNING
from monitoring.dashboards.service import MEMORY, OVERVIEW, SERVICE

DASHBOARDS = (OVERVIEW, LEARNING, ADAPTATION, CONTINUAL, MEMORY, SERVICE)


def dashboard_files() -> dict[str, str]:
    """Return the text of each dashboard by the name of its file."""
    names = [(spec.uid, spec.title) for spec in DASHBOARDS]
    return {f"{spec.uid}.json": as_json(spec, all_names=names) for spec in DASHBOARDS}
