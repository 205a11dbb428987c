"""The routes of /api/v1: read-only JSON, from the store and from the daemon's memory."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.clock import Clock
from agent.config.settings import Settings
from agent.daemon.health import Problem
from agent.daemon.http.answers import Answer, AnswerCache, error_response, new_answer, response_of
from agent.daemon.store.thread import StoreThread
from agent.daemon.web import resources
from agent.daemon.web.openapi import openapi_document
from agent.daemon.web.resources import PREFIX, RESOURCES, ParameterError, Resource, UnknownFamilyError
from agent.output.json_values import to_json_text
from agent.output.visible_text import visible
from memory.errors import MemoryStoreError
from memory.store import Store

JSON_TYPE = "application/json"


@dataclass(frozen=True, kw_only=True)
class ApiSources:
    """The sources of the HTTP interface.

    Attributes:
        reader: the thread with the store that answers are read from. It is not the one that metrics are read from, so
            a slow reading delays neither metrics nor health.
        revision: returns a number that changes when the store has changed.
        status: returns the daemon's present status row.
        problems: returns the reasons for red health; empty if health is good.
        settings: returns the present settings of the service.
        clock: wall clock.
    """

    reader: StoreThread
    revision: Callable[[], int]
    status: Callable[[], Mapping[str, Any]]
    problems: Callable[[], Sequence[Problem]]
    settings: Callable[[], Settings]
    clock: Clock


def health_values(found: Sequence[Problem]) -> dict[str, Any]:
    """Return the JSON values of the health: the body of /healthz and of /api/v1/health."""
    reasons = [{"reason": p.reason, "found": visible(p.found), "hint": visible(p.hint)} for p in found]
    return {"status": "red" if found else "ok", "reasons": reasons}


def api_routes(sources: ApiSources) -> list[Route]:
    """Return the routes of the HTTP interface."""
    cache = AnswerCache(sources.revision)
    document: list[Answer] = []

    async def health(request: Request) -> Response:
        return response_of(_json_answer(health_values(sources.problems())), request)

    async def openapi(request: Request) -> Response:
        if not document:
            document.append(new_answer(json.dumps(openapi_document(), indent=1).encode(), JSON_TYPE))
        return response_of(document[0], request)

    async def index(request: Request) -> Response:
        paths = [PREFIX + resource.path for resource in RESOURCES]
        return response_of(_json_answer({"version": 1, "resources": [*paths, f"{PREFIX}/health"]}), request)

    return [
        Route(PREFIX, index),
        Route(f"{PREFIX}/health", health),
        Route(f"{PREFIX}/openapi.json", openapi),
        *(Route(PREFIX + resource.path, _endpoint(resource, sources, cache)) for resource in RESOURCES),
    ]


def _endpoint(resource: Resource, sources: ApiSources, cache: AnswerCache) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        name = request.path_params.get("name", "")
        try:
            values = resource.parse(request.query_params)
            key = (resource.path, name, tuple(sorted(values.items())))
            found = await cache.get(key, lambda: _read(resource, sources, values, name))
        except ParameterError as error:
            return error_response(error, status=400)
        except UnknownFamilyError as error:
            return error_response(error, status=404)
        except MemoryStoreError as error:
            return error_response(error, status=503)
        return response_of(found, request)

    return answer


async def _read(resource: Resource, sources: ApiSources, values: Mapping[str, Any], name: str) -> Answer:
    """Read and compress an answer in the thread of the store."""
    request = resources.Request(
        values=values,
        settings=sources.settings(),
        status=sources.status(),
        pid=os.getpid(),
        now=sources.clock.wall(),
        name=name,
    )

    def read(store: Store) -> Answer:
        return _json_answer(resource.read(store, request))

    return await sources.reader.call(read)


def _json_answer(values: Any) -> Answer:
    return new_answer(to_json_text(values, is_indented=False).encode(), JSON_TYPE)
