"""The status of a service by HTTP, for users who may not read its data folder."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agent.cli.errors import CommandError
from agent.cli.running_service import authorization

TIMEOUT_S = 10.0
MAX_BYTES = 64 * 2**20
PATH = "/api/v1/status"
OPERATION = "reading the status from"
KEYS = {"state", "pid", "families", "running", "health", "policy_version"}
"""Some keys of every answer, by which a service is known to be learnd."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A handler that follows no redirect, so that the token is sent to no other address."""

    def redirect_request(self, *_: Any) -> None:
        """Return no request."""
        return


def remote_status(url: str, *, token_file: Path | None) -> dict[str, Any]:
    """Return the status report of the service at an address; the values are those of ``status_report``.

    Args:
        url: the address of the service, such as ``http://127.0.0.1:9464``.
        token_file: a file whose first line is the service's token; None to send none.

    Raises:
        CommandError: the service cannot be reached, refuses the request, or is not learnd.
    """
    request = urllib.request.Request(_address(url) + PATH, headers={"accept": "application/json"})  # noqa: S310 -- checked
    if token_file is not None:
        for name, value in authorization(token_file).items():
            request.add_unredirected_header(name, value)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            body: bytes = answer.read(MAX_BYTES)
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(url, error) from error
    except urllib.error.URLError as error:
        reason = getattr(error.reason, "strerror", None) or error.reason
        raise _unreachable(url, str(reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(url, str(error) or type(error).__name__) from error
    return _report(url, body)


def _address(url: str) -> str:
    """Return the address without path.

    Raises:
        CommandError: it is not an HTTP address.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or parts.username or parts.query or parts.fragment:
        raise CommandError(
            operation=OPERATION, subject=url, found="it is not an address.", hint="Write http://HOST:PORT."
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _refused(url: str, error: urllib.error.HTTPError) -> CommandError:
    """Return the error of an answer that has another status than 200."""
    found, hint = f"it answered with status {error.code}.", ""
    try:
        told = json.loads(error.read(2**16))["error"]
        found, hint = str(told["found"]), str(told["hint"])
    except (ValueError, KeyError, TypeError, OSError):
        if error.code == http.HTTPStatus.BAD_REQUEST:
            hint = "If it is learnd, name the host of the address in its setting service.allowed_hosts."
        elif error.code == http.HTTPStatus.NOT_FOUND:
            found, hint = "it is not learnd, or one without /api/v1 (status 404).", "Check the address."
    if error.code == http.HTTPStatus.UNAUTHORIZED:
        hint = "Give the file with the service's token: --token-file FILE."
    return CommandError(operation=OPERATION, subject=url, found=found, hint=hint)


def _unreachable(url: str, reason: str) -> CommandError:
    return CommandError(
        operation=OPERATION,
        subject=url,
        found=f"{reason.rstrip('.')}.",
        hint="Check the address, and whether the service runs (`systemctl status learnd`).",
    )


def _report(url: str, body: bytes) -> dict[str, Any]:
    """Return the values of an answer.

    Raises:
        CommandError: it is not learnd's.
    """
    try:
        report = json.loads(body)
    except ValueError:
        report = None
    if not isinstance(report, dict) or not report.keys() >= KEYS:
        raise CommandError(
            operation=OPERATION, subject=url, found="the answer is not learnd's.", hint="Check the address."
        )
    return report
