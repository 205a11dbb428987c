"""Who may read the page and /api/v1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config.token_file import MOST_TOKEN_BYTES
from agent.daemon.web.access import COOKIE, AccessError, AccessRules, read_token
from tests.agent.daemon.web.conftest import Site

TOKEN = "correct-horse-battery-staple"
MONITORING = ("/metrics", "/healthz", "/readyz")


@pytest.fixture
def guarded(new_site: Callable[..., Site], token_file: Path) -> Site:
    """Return the pages of a service that other machines can reach, with a token."""
    return new_site(AccessRules(listen_host="0.0.0.0", token_file=token_file))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_on_a_loopback_address_no_token_is_needed(host: str, new_site: Callable[..., Site]) -> None:
    site = new_site(AccessRules(listen_host=host))
    assert site.get("/").status_code == 200
    assert site.get("/api/v1/status").status_code == 200


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.5", "learnd.lan"])
def test_beyond_loopback_without_a_token_the_page_is_closed_and_monitoring_is_open(
    host: str, new_site: Callable[..., Site]
) -> None:
    site = new_site(AccessRules(listen_host=host))
    assert site.get("/").status_code == 403
    answer = site.get("/api/v1/status", authorization="Bearer guess")
    assert answer.status_code == 403
    assert "service.token_file" in answer.json()["error"]["hint"]
    assert [site.get(path).status_code for path in MONITORING] == [200, 200, 200]


@pytest.mark.parametrize("given", [None, "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xff"])
def test_a_missing_or_wrong_token_is_refused(given: str | None, guarded: Site) -> None:
    headers = {} if given is None else {"authorization": given}
    answer = guarded.get("/api/v1/status", **headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert guarded.get("/api/v1/stream", **headers).status_code == 401
    assert guarded.get("/login", **headers).status_code == 401


def test_the_token_opens_everything(guarded: Site) -> None:
    for path in ("/", "/api/v1/status", "/metrics"):
        assert guarded.get(path, authorization=f"Bearer {TOKEN}").status_code == 200


def test_without_a_session_the_page_is_a_login_form(guarded: Site) -> None:
    answer = guarded.get("/")
    assert answer.status_code == 401
    assert '<form id="login">' in answer.text
    assert guarded.get("/static/js/login.js").status_code == 200


def test_a_login_gives_a_cookie_that_opens_the_page_and_does_not_hold_the_token(guarded: Site) -> None:
    answer = guarded.get("/login", authorization=f"Bearer {TOKEN}")
    cookie = answer.headers["set-cookie"]
    assert answer.status_code == 204
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    session = cookie.partition(";")[0]
    assert guarded.get("/", cookie=session).status_code == 200
    assert guarded.get("/api/v1/status", cookie=session).status_code == 200


@pytest.mark.parametrize(
    "value", ["", "x", "9999999999.", "9999999999.abc", "1.abc", "²²²²²²²²²².abc", '"', "99999999999999.1"]
)
def test_a_made_up_cookie_opens_nothing(value: str, guarded: Site) -> None:
    assert guarded.get("/api/v1/status", cookie=f"{COOKIE}={value}".encode().decode("latin-1")).status_code == 401


def test_a_session_ends_when_it_expires_or_the_token_changes(guarded: Site, token_file: Path) -> None:
    session = guarded.get("/login", authorization=f"Bearer {TOKEN}").headers["set-cookie"].partition(";")[0]
    name, _, value = session.partition("=")
    expires, _, signature = value.partition(".")
    assert guarded.get("/", cookie=f"{name}={int(expires) + 1}.{signature}").status_code == 401
    token_file.write_text("another-long-random-token\n")
    assert guarded.get("/", cookie=session).status_code == 401
    assert guarded.get("/", authorization="Bearer another-long-random-token").status_code == 200


def test_an_expired_session_opens_nothing(guarded: Site) -> None:
    from agent.daemon.web.access import _signature

    assert guarded.get("/", cookie=f"{COOKIE}=1000.{_signature(TOKEN, 1000)}").status_code == 401


def test_a_token_file_on_loopback_is_asked_for_too(new_site: Callable[..., Site], token_file: Path) -> None:
    site = new_site(AccessRules(listen_host="127.0.0.1", token_file=token_file))
    assert site.get("/api/v1/status").status_code == 401


@pytest.mark.parametrize("content", ["", "short\n", "\n\n", "x" * (MOST_TOKEN_BYTES + 1)])
def test_a_token_file_without_a_token_of_usual_length_closes_the_page_and_says_so(
    content: str, new_site: Callable[..., Site], token_file: Path
) -> None:
    token_file.write_text(content)
    site = new_site(AccessRules(listen_host="0.0.0.0", token_file=token_file))
    answer = site.get("/api/v1/status", authorization="Bearer ")
    assert answer.status_code == 503
    assert "openssl rand" in answer.json()["error"]["hint"]
    assert site.get("/metrics").status_code == 200


def test_a_token_file_may_be_named_from_the_home_folder(token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(token_file.parent))
    assert read_token(Path("~/token")) == TOKEN


def test_a_token_file_that_has_no_end_is_refused() -> None:
    with pytest.raises(AccessError, match=f"more than {MOST_TOKEN_BYTES} bytes"):
        read_token(Path("/dev/zero"))


def test_a_token_file_that_is_missing_closes_the_page(new_site: Callable[..., Site], tmp_path: Path) -> None:
    site = new_site(AccessRules(listen_host="127.0.0.1", token_file=tmp_path / "none"))
    assert site.get("/").status_code == 503


def test_monitoring_asks_for_the_token_if_the_settings_say_so(new_site: Callable[..., Site], token_file: Path) -> None:
    site = new_site(AccessRules(listen_host="0.0.0.0", token_file=token_file, protects_monitoring=True))
    assert [site.get(path).status_code for path in MONITORING] == [401, 401, 401]
    assert [site.get(path, authorization=f"bearer {TOKEN}").status_code for path in MONITORING] == [200, 200, 200]


def test_a_page_of_another_site_reads_nothing_through_a_browser(site: Site) -> None:
    assert site.get("/api/v1/status", sec_fetch_site="cross-site").status_code == 403
    assert site.get("/api/v1/stream", sec_fetch_site="cross-site").status_code == 403
    assert site.get("/api/v1/status", sec_fetch_site="same-origin").status_code == 200
    assert site.get("/", sec_fetch_site="cross-site").status_code == 200


def test_a_login_where_no_token_is_needed_succeeds(site: Site) -> None:
    assert site.get("/login").status_code == 204
