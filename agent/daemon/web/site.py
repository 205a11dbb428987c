"""The page, /api/v1 and the stream of changes as one part of the daemon."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from agent.daemon.store.snapshot import Snapshot
from agent.daemon.web.access import AccessCheck, AccessError, AccessRules, read_token
from agent.daemon.web.api import ApiSources, api_routes
from agent.daemon.web.live import MAX_CLIENTS, LiveStream, live_values
from agent.daemon.web.page import page_routes

log = structlog.get_logger(__name__)

SHARE_OF_CONNECTIONS = 4
"""At most one in so many connections may follow the stream, so that others can be answered."""


class Web:
    """The page, /api/v1 and the stream of changes.

    Args:
        sources: the sources of /api/v1.
        rules: who may read them.
        snapshot: returns the newest snapshot; None before the first.
        state: returns the state of the service.
        summary: returns the current activity in one line.
    """

    def __init__(
        self,
        sources: ApiSources,
        *,
        rules: AccessRules,
        snapshot: Callable[[], Snapshot | None],
        state: Callable[[], str],
        summary: Callable[[], str],
    ) -> None:
        self._sources = sources
        self._rules = rules
        self._stream = LiveStream(
            lambda: live_values(snapshot(), state=state(), summary=summary(), is_red=bool(sources.problems()))
        )

    def routes(self, max_connections: int) -> list[BaseRoute]:
        """Return all routes, for a server with this limit of connections."""
        self._stream.max_clients = max(1, min(MAX_CLIENTS, max_connections // SHARE_OF_CONNECTIONS))
        return [*page_routes(), self._stream.route(), *api_routes(self._sources)]

    def protected(self, app: ASGIApp) -> ASGIApp:
        """Return the application behind the rules of access. Log if the page is closed to everyone."""
        if self._rules.token_file is not None:
            try:
                read_token(self._rules.token_file)
            except AccessError as error:
                log.error("the page and /api/v1 are closed", error=str(error))  # noqa: TRY400
        elif not self._rules.is_open:
            log.info("the page and /api/v1 are closed: the service listens beyond this machine without a token file")
        return AccessCheck(app, self._rules)

    async def watch(self) -> None:
        """Publish changes until :meth:`close`."""
        await self._stream.watch()

    def close(self) -> None:
        """End the stream of every client."""
        self._stream.close()
