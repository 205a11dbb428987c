"""The OpenAPI document and the reference page: complete, consistent and current."""

from __future__ import annotations

import json
import re

import pytest

from agent.daemon.web.live import STREAM_PATH
from agent.daemon.web.openapi import openapi_document
from agent.daemon.web.reference_page import BEGIN, updated
from agent.daemon.web.resources import PREFIX, RESOURCES
from tests.agent.daemon.web.conftest import Site
from tests.repository import ROOT


def test_the_reference_page_is_current() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    assert page == updated(page), "run python -m agent.daemon.web.reference_page docs/api.md"


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks"):
        updated(f"{BEGIN} and no end")


def test_the_served_document_is_the_generated_one(site: Site) -> None:
    assert site.json("/openapi.json") == openapi_document()


def test_every_path_that_is_served_is_in_the_document(site: Site) -> None:
    served = {route.path for route in site.web.routes(256) if route.path.startswith(f"{PREFIX}/")}  # type: ignore[attr-defined]
    assert served - {f"{PREFIX}/openapi.json"} == set(openapi_document()["paths"])


def test_every_reference_in_the_document_leads_to_a_schema() -> None:
    document = openapi_document()
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert named <= set(document["components"]["schemas"])


def test_every_default_of_a_parameter_is_allowed() -> None:
    for resource in RESOURCES:
        for parameter in resource.parameters:
            assert parameter.parse(str(parameter.default)) == parameter.default


def test_operations_have_names_of_their_own() -> None:
    names = [item["get"]["operationId"] for item in openapi_document()["paths"].values()]
    assert len(names) == len(set(names))


def test_the_document_names_an_etag_exactly_where_an_answer_has_one(site: Site) -> None:
    for path, item in openapi_document()["paths"].items():
        responses = item["get"]["responses"]
        declared = "ETag" in responses["200"].get("headers", {})
        assert declared == ("304" in responses)
        if path == STREAM_PATH:
            assert not declared
        else:
            assert declared == ("etag" in site.get(path.replace("{name}", "cartpole")).headers), path
