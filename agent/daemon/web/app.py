"""The application of the HTTP server: the pages for monitoring, the page for users and /api/v1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from agent.daemon.health import Problem
from agent.daemon.http.answers import error_response
from agent.daemon.metrics.text import MetricsText
from agent.daemon.web.api import health_values
from agent.daemon.web.resources import PREFIX
from agent.errors import AgentError


class UnknownPathError(AgentError):
    """An error: a request asks for a path that does not exist."""


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """The sources of the pages; each is read at every request.

    Attributes:
        metrics: the metrics.
        problems: returns the reasons for red health; empty if health is good.
        state: returns the state of the service, such as "running".
    """

    metrics: MetricsText
    problems: Callable[[], Sequence[Problem]]
    state: Callable[[], str]


def new_app(endpoints: Endpoints, routes: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the application that serves the pages for monitoring, and further routes.

    Args:
        endpoints: the sources of the pages for monitoring.
        routes: the routes of the page and of /api/v1.
    """

    async def metrics(request: Request) -> Response:
        accepted = request.headers.get("accept", ""), request.headers.get("accept-encoding", "")
        answer = endpoints.metrics.answer(accept=accepted[0], accept_encoding=accepted[1])
        return Response(answer.body, headers=answer.headers)

    async def healthz(_: Request) -> Response:
        found = endpoints.problems()
        return JSONResponse(health_values(found), status_code=503 if found else 200)

    async def readyz(_: Request) -> Response:
        state = endpoints.state()
        return JSONResponse({"status": state}, status_code=200 if state == "running" else 503)

    async def unknown_path(request: Request, _: Exception) -> Response:
        error = UnknownPathError(
            operation="answering the request for",
            subject=request.url.path,
            found="there is no such path.",
            hint=f"{PREFIX} lists the paths of the interface.",
        )
        return error_response(error, status=404)

    pages = {"/metrics": metrics, "/healthz": healthz, "/readyz": readyz}
    return Starlette(
        routes=[*(Route(path, page) for path, page in pages.items()), *routes], exception_handlers={404: unknown_path}
    )
