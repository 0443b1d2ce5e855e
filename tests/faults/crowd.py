"""A thousand clients in one process: each a socket, one request, and the head and body that come back."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tests.faults.load import PATH


@dataclass(frozen=True)
class Came:
    """One answer, and how many seconds after the first request it was there."""

    status: int
    body: Any
    after: float


async def crowd(port: int, key: str, bodies: Sequence[dict[str, object]], at_once: int) -> list[Came]:
    """Send all, so many at a time; the answers in their order."""
    slots, started = asyncio.Semaphore(at_once), time.monotonic()

    async def one(body: dict[str, object]) -> Came:
        async with slots:
            status, data = await _ask(port, key, orjson.dumps(body))
        return Came(status, orjson.loads(data), time.monotonic() - started)

    return list(await asyncio.gather(*map(one, bodies)))


async def _ask(port: int, key: str, data: bytes) -> tuple[int, bytes]:
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode() + data)
        answer = await reader.read()
    finally:
        writer.close()
    if not answer:
        raise ConnectionError("it hung up")
    start, _, body = answer.partition(b"\r\n\r\n")
    return int(start.split()[1]), body
