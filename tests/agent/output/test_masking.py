from __future__ import annotations

import pytest

from agent.output.masking import masked_text, masked_values


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("token = 'abc'", "token = ***"),
        ('API_KEY="a b c" run', "API_KEY=*** run"),
        ("LEARND_BACKUP_PASSWORD=hunter2, next", "LEARND_BACKUP_PASSWORD=***, next"),
        ("rsync --password hunter2 x", "rsync --password *** x"),
        ("restic --password=hunter2", "restic --password=***"),
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer ***"),
        ("https://ann:hunter2@example.org/x", "https://ann:***@example.org/x"),
        ('{"access_token": "abc", "n": 3}', '{"access_token": ***, "n": 3}'),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", "***"),
        ("Environment=LEARND_X=1 SECRET=abc", "Environment=LEARND_X=1 SECRET=***"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, masked: str) -> None:
    assert masked_text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        'service.token_file = "/etc/learnd/token"',
        "num_tokens = 5",
        "http://127.0.0.1:9464/",
        "12:30:15 tokenizer: ready",
        "learnd.service: the passwords of nobody",
        "rsync -a /a backup@host:learnd/",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert masked_text(text) == text


def test_known_secrets_are_masked_wherever_they_are() -> None:
    assert masked_text("GET /?t=correct-horse HTTP", secrets=["correct-horse"]) == "GET /?t=*** HTTP"


def test_values_keep_their_form() -> None:
    values = {
        "password": "hunter2",
        "passwords_tried": 3,
        "token_file": "/etc/learnd/token",
        "secret": None,
        "token": "",
        "list": ["token=abc", 1.5, True],
        "deep": {"api_key": "abc", "text": "correct-horse"},
    }
    assert masked_values(values, secrets=["correct-horse"]) == {
        "password": "***",
        "passwords_tried": 3,
        "token_file": "/etc/learnd/token",
        "secret": None,
        "token": "",
        "list": ["token=***", 1.5, True],
        "deep": {"api_key": "***", "text": "***"},
    }
