"""The settings of the processes that the daemon starts, passed in their environment.

The command line would show them in every list of processes. The variable is removed before the process starts others.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.config.settings import Settings

VARIABLE = "_LEARND_SETTINGS"


def settings_variable(settings: Settings) -> dict[str, str]:
    """Return the variable with all settings; the format of the log is that of the daemon."""
    from agent.logs import resolved_format

    service = settings.service.model_copy(update={"log_format": resolved_format(settings.service.log_format)})
    return {VARIABLE: json.dumps(settings.model_copy(update={"service": service}).model_dump(mode="json"))}
