"""The page: static files of the package, which are read once and served from memory."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.daemon.http.answers import Answer, new_answer, response_of

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)
"""The browser loads nothing from elsewhere, runs no script in the page itself, and shows the page in no frame."""

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


def page_routes() -> list[Route]:
    """Return the routes of the page and its files."""
    answers = dict(_answers(files("agent.daemon.web") / "static", ""))
    headers = {"content-security-policy": CONTENT_POLICY}

    async def page(request: Request) -> Response:
        return response_of(answers["index.html"], request, headers=headers)

    async def static(request: Request) -> Response:
        answer = answers.get(request.path_params["path"])
        return Response(status_code=404) if answer is None else response_of(answer, request, headers=headers)

    return [Route("/", page), Route("/static/{path:path}", static)]


def _answers(folder: Traversable, prefix: str) -> list[tuple[str, Answer]]:
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _answers(entry, f"{prefix}{entry.name}/")
        elif media_type := MEDIA_TYPES.get(entry.name[entry.name.rfind(".") :]):
            found.append((prefix + entry.name, new_answer(entry.read_bytes(), media_type)))
    return found
