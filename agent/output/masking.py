"""Masking of secrets in texts and values that are given to other people."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

MASK = "***"

_NAME = r"[\w.-]*(?:token|(?:secret|passw(?:or)?d|passphrase|api[_-]?key|access[_-]?key|private[_-]?key|credential)s?)"
_SECRET_NAME = re.compile(rf"{_NAME}", re.IGNORECASE)
_ASSIGNMENT = re.compile(
    rf"(?P<name>(?<![\w.-]){_NAME}[\"']?\s*[=:]\s*)(?P<value>\"[^\"]*\"|'[^']*'|[^\s,;&}}\]]+)", re.I
)
_OPTION = re.compile(rf"(?P<name>--{_NAME}(?:\s+|=))(?P<value>\"[^\"]*\"|'[^']*'|[^\s-]\S*)", re.IGNORECASE)
_AUTHORIZATION = re.compile(r"(?P<name>\b(?:Bearer|Basic)\s+)(?P<value>[\w.~+/=-]{6,})", re.IGNORECASE)
_IN_ADDRESS = re.compile(r"(?P<name>\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)(?P<value>[^\s/@]+)(?=@)", re.IGNORECASE)
_SSH_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)


def masked_text(text: str, *, secrets: Collection[str] = ()) -> str:
    """Return a text with what looks like a secret replaced by ``***``.

    Masked are values of names such as ``token``, ``password`` and ``API_KEY`` (after = or :, or as an option), values
    of an authorization header, passwords in addresses, and private keys.

    Args:
        text: the text.
        secrets: texts that are masked wherever they occur, such as the content of a token file.
    """
    for secret in secrets:
        text = text.replace(secret, MASK)
    text = _SSH_KEY.sub(MASK, text)
    for pattern in (_ASSIGNMENT, _OPTION, _AUTHORIZATION, _IN_ADDRESS):
        text = pattern.sub(lambda match: f"{match['name']}{MASK}", text)
    return text


def masked_values(values: Any, *, secrets: Collection[str] = ()) -> Any:
    """Return JSON values with secrets masked: in every text, and every text under a name such as ``password``.

    Args:
        values: the values; numbers, booleans and None stay as they are.
        secrets: texts that are masked wherever they occur.
    """
    if isinstance(values, Mapping):
        return {
            name: MASK
            if isinstance(value, str) and value and _SECRET_NAME.fullmatch(str(name))
            else masked_values(value, secrets=secrets)
            for name, value in values.items()
        }
    if isinstance(values, (list, tuple)):
        return [masked_values(value, secrets=secrets) for value in values]
    return masked_text(values, secrets=secrets) if isinstance(values, str) else values
