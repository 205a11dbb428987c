"""The errors of the installation."""

from __future__ import annotations

from agent.errors import AgentError


class ServiceError(AgentError):
    """An error: the service cannot be installed, removed or examined."""
