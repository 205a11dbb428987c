"""Raw HTTP connections for tests: what no well-behaved client does."""

from __future__ import annotations

import socket


def connect(url: str) -> socket.socket:
    """Open a connection to the host and port of ``http://HOST:PORT/``."""
    host, _, port = url.removeprefix("http://").rstrip("/").rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=10)


def ask(url: str, request: bytes) -> bytes:
    """Send a request as it stands, and return everything up to the end of the connection."""
    with connect(url) as connection:
        connection.sendall(request)
        return read_to_end(connection)


def read_to_end(connection: socket.socket) -> bytes:
    """Return what arrives until the other side closes; a reset counts as the end."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """Return what arrives up to where it ends with ``end``, or the other side closes."""
    received = b""
    while not received.endswith(end) and (part := connection.recv(65536)):
        received += part
    return received
