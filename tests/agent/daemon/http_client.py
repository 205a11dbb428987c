"""Raw HTTP connections for tests, for requests that a well-behaved client does not send."""

from __future__ import annotations

import socket


def connect(url: str) -> socket.socket:
    """Open a connection to the host and port of ``http://HOST:PORT/``."""
    host, _, port = url.removeprefix("http://").rstrip("/").rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=10)


def ask(url: str, request: bytes) -> bytes:
    """Send a request unchanged, and return everything up to the end of the connection."""
    with connect(url) as connection:
        connection.sendall(request)
        return read_to_end(connection)


def read_to_end(connection: socket.socket) -> bytes:
    """Return the bytes that arrive until the other side closes or resets the connection."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """Return the bytes that arrive until they end with ``end`` or the other side closes the connection."""
    received = b""
    while not received.endswith(end) and (part := connection.recv(65536)):
        received += part
    return received
