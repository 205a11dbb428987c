"""The files of the page: complete, self-contained, and as their makers published them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from agent.daemon.web import page
from tests.agent.daemon.web.conftest import Site
from tests.repository import ROOT

STATIC = Path(page.__file__).parent / "static"
OWN = sorted(path for path in STATIC.rglob("*") if path.is_file() and path.parent.name != "uplot")
UPLOT = {
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "LICENSE.txt": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}
"""The sha256 of the files of the npm package uplot 1.6.32."""


def test_the_chart_library_is_the_published_one_with_its_licence() -> None:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (STATIC / "uplot").iterdir()}
    assert found == UPLOT
    assert "v1.6.32" in (STATIC / "uplot" / "uPlot.iife.min.js").read_text()[:100]
    assert "1.6.32" in (ROOT / "docs" / "architecture.md").read_text()


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_no_file_of_the_page_names_another_host(path: Path) -> None:
    named = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", path.read_text()))
    assert named <= {"http://www.w3.org", "//www.w3.org"}


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_no_file_of_the_page_parses_text_as_markup_or_code(path: Path) -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\son[a-z]+=|style=\""
    assert re.findall(forbidden, path.read_text()) == []


def test_every_file_that_the_page_names_is_served(site: Site) -> None:
    text = site.get("/").text
    named = re.findall(r'(?:href|src)="(/static/[^"]+)"', text)
    for script in STATIC.glob("js/*.js"):
        named += [f"/static/js/{name}" for name in re.findall(r'from "\./([^"]+)"', script.read_text())]
    assert len(named) > 10
    assert {path: site.get(path).status_code for path in named} == dict.fromkeys(named, 200)


def test_every_module_is_asked_for_before_another_one_imports_it() -> None:
    modules = {path.name for path in STATIC.glob("js/*.js")} - {"login.js", "main.js"}
    assert set(re.findall(r'"modulepreload" href="/static/js/([^"]+)"', (STATIC / "index.html").read_text())) == modules


def test_every_element_that_a_script_asks_for_is_in_the_page() -> None:
    text = (STATIC / "index.html").read_text()
    ids = set(re.findall(r' id="([^"]+)"', text))
    asked = {
        name
        for path in STATIC.glob("js/*.js")
        if path.name != "login.js"
        for name in re.findall(r'byId\("([^"]+)"\)', path.read_text())
    }
    assert asked <= ids


def test_the_page_has_a_strict_policy_and_is_revalidated(site: Site) -> None:
    answer = site.get("/")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-cache"
    assert site.get("/", if_none_match=answer.headers["etag"]).status_code == 304


@pytest.mark.parametrize(
    "path", ["/static/none.js", "/static/../page.py", "/static/js", "/none", "/api/v1/none", "/api/v2"]
)
def test_an_unknown_path_is_answered_with_404(path: str, site: Site) -> None:
    assert site.get(path).status_code == 404


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa_on_every_ground(theme: str) -> None:
    first, second = re.findall(r":root \{(.*?)\}", (STATIC / "page.css").read_text(), re.DOTALL)[:2]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", first if theme == "light" else second))
    for text in ("ink", "muted", "accent", "ok", "warn", "bad"):
        for ground in ("panel", "back", "faint"):
            lighter, darker = sorted((_luminance(colours[text]), _luminance(colours[ground])), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, ground)
    for text, ground in (("ink", "warn-back"), ("ink", "bad-back"), ("warn", "warn-back"), ("bad", "bad-back")):
        lighter, darker = sorted((_luminance(colours[text]), _luminance(colours[ground])), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, ground)


def test_the_page_calls_learner_steps_by_their_name_and_not_slices() -> None:
    """A repair of a candidate is a learner step too, and no slice of practice."""
    texts = {path.name: path.read_text() for path in (STATIC / "index.html", *(STATIC / "js").glob("*.js"))}
    assert [name for name, text in texts.items() if re.search(r"\bslices?\b(?! *\()", text)] == []
    named = {name for name, text in texts.items() if "learner steps" in text}
    assert named == {"index.html", "family.js", "memory.js", "now.js"}
