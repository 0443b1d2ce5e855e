"""HTTP by hand, for what no client library would send."""

import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import httpx
import orjson

from tests.acceptance.programs import KEY, PATIENCE, Served

# The server may take this long to notice that a body does not come: it must never be for ever.
HANG: Final = 30.0


@dataclass(frozen=True)
class Seen:
    """An answer, or none at all: the server may also just hang up on what is no HTTP."""

    status: int | None
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error object."""
        told: dict[str, Any] = orjson.loads(self.body)["error"]
        return told

    @property
    def is_a_refusal(self) -> bool:
        """A 4xx in OpenAI's shape, with an id to ask about."""
        if self.status is None or not 400 <= self.status < 500:
            return False
        error = self.error
        return (
            list(error) == ["message", "type", "param", "code"]
            and bool(error["message"])
            and bool(error["type"])
            and self.headers["content-type"] == "application/json"
            and self.headers["x-request-id"].startswith("req_")
        )


NOTHING: Final = Seen(None, {}, b"")


def exchange(gateway: Served, pieces: Iterable[bytes]) -> Seen:
    """Send pieces of bytes over a connection of their own, and read one answer; `NOTHING` if it was hung up."""
    url = httpx.URL(gateway.url)
    with socket.create_connection((url.host, url.port or 80), timeout=HANG) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
        except OSError:
            pass  # it answered or hung up while we were sending
        return _read(connection)


def post(
    gateway: Served, body: bytes, *headers: bytes, path: bytes = b"/v1/images/generations", length: bool = True
) -> bytes:
    """A request's bytes; `headers` come beside Host and the key."""
    host = httpx.URL(gateway.url).netloc
    lines = [b"POST %b HTTP/1.1" % path, b"Host: " + host, b"Authorization: Bearer " + KEY.encode(), *headers]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _read(connection: socket.socket) -> Seen:
    deadline = time.monotonic() + PATIENCE
    data = b""
    try:
        while not _complete(data):
            assert time.monotonic() < deadline, data
            chunk = connection.recv(65536)
            if not chunk:
                break
            data += chunk
    except ConnectionError:
        pass
    if b"\r\n\r\n" not in data:
        return Seen(None, {}, data)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Seen(int(first.split()[1]), headers, body)


def _complete(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return False
