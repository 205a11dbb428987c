"""The OpenAPI document of /api/v1, generated from the resources and their models."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from agent.daemon.web import service_models
from agent.daemon.web.live import STREAM_PATH, LiveMessage
from agent.daemon.web.resources import PREFIX, RESOURCES, Parameter, Resource
from agent.daemon.web.values import Failed, Values

API_VERSION = "1.0.0"
"""The version of the interface. A change that can break a client is a new path, /api/v2."""

DESCRIPTION = (
    "Read-only JSON of the service learnd: the values that its commands print with --json. Times are seconds since the"
    " epoch. All answers except the stream have an ETag and are compressed with gzip if the client accepts it."
)
HEALTH_SUMMARY = "The health of the service, with what to do about each reason."
STREAM_SUMMARY = "Server-sent events: one message for each change of the service, and a comment as a heartbeat."


def openapi_document() -> dict[str, Any]:
    """Return the document as JSON values (OpenAPI 3.1)."""
    answers: list[type[Values]] = [
        Failed,
        service_models.Health,
        LiveMessage,
        *(resource.model for resource in RESOURCES),
    ]
    _, definitions = models_json_schema(
        [(model, "validation") for model in answers], ref_template="#/components/schemas/{model}"
    )
    paths = {PREFIX + resource.path: {"get": _operation(resource)} for resource in RESOURCES}
    paths[f"{PREFIX}/health"] = {"get": _plain_operation("health", HEALTH_SUMMARY, service_models.Health)}
    paths[STREAM_PATH] = {"get": _stream_operation()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "learnd", "version": API_VERSION, "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _schema(model: type[Values]) -> str:
    return f"#/components/schemas/{model.__name__}"


def _plain_operation(name: str, summary: str, model: type[Values]) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [],
        "responses": {
            "200": {
                "description": summary,
                "headers": {"ETag": {"schema": {"type": "string"}}},
                "content": {"application/json": {"schema": {"$ref": _schema(model)}}},
            },
            "304": {"description": "The answer is the one that If-None-Match names."},
            "default": {
                "description": "An error.",
                "content": {"application/json": {"schema": {"$ref": _schema(Failed)}}},
            },
        },
    }


def _stream_operation() -> dict[str, Any]:
    """Return the operation of the stream, which has neither an ETag nor an answer 304."""
    operation = _plain_operation("stream", STREAM_SUMMARY, LiveMessage)
    operation["responses"]["200"] = {
        "description": STREAM_SUMMARY,
        "content": {"text/event-stream": {"schema": {"$ref": _schema(LiveMessage)}}},
    }
    del operation["responses"]["304"]
    return operation


def _operation(resource: Resource) -> dict[str, Any]:
    name = resource.path.strip("/").replace("/", "_").replace("{name}", "one")
    operation = _plain_operation(name, resource.summary, resource.model)
    if resource.has_family:
        operation["parameters"].append(
            {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}, "description": "The family."}
        )
    operation["parameters"] += [_parameter(parameter) for parameter in resource.parameters]
    return operation


def _parameter(parameter: Parameter) -> dict[str, Any]:
    if parameter.choices is not None:
        schema: dict[str, Any] = {
            "type": "string",
            "enum": [choice.value for choice in parameter.choices],
            "default": parameter.default.value,
        }
    else:
        schema = {"type": "integer", "minimum": 1, "maximum": parameter.most, "default": parameter.default}
    return {
        "name": parameter.name,
        "in": "query",
        "required": False,
        "schema": schema,
        "description": parameter.description,
    }
