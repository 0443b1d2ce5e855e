"""302.AI's V1 endpoint: one POST, one answer, read by `gateway.core.reply`.

A POST whose bytes may have left is never sent again here, whatever happened to it.
"""

import asyncio
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import httpx

from gateway.core.catalogue import Model
from gateway.core.errors import GatewayError, Kind
from gateway.core.reply import read_answer
from gateway.flights import Deadline
from gateway.ports import Drawn, Progress

_PATH: Final = "/302/image/generate"
# V1 answers with a URL and the vendor's raw answer: a megabyte is beyond all that was ever seen.
_LARGEST_ANSWER: Final = 4 * 1024 * 1024
_TIMED_OUT: Final = "302.AI did not answer in time; the picture may have been billed, so do not send it again at once."
_BROKEN: Final = "The connection to 302.AI broke after the request was sent; it may have been billed."


@dataclass(frozen=True, slots=True)
class UpstreamOptions:
    """Where 302 is and how long it may take; times in seconds."""

    url: str
    keys: Sequence[str]
    timeout: float = 280.0
    connect_timeout: float = 10.0
    concurrency: int = 2000

    def __repr__(self) -> str:
        return f"UpstreamOptions(url={self.url!r}, keys=<{len(self.keys)} hidden>)"


class Upstream302:
    """The paid call."""

    def __init__(self, transport: httpx.AsyncBaseTransport, options: UpstreamOptions) -> None:
        self._transport: Final = transport
        self._options: Final = options
        self._url: Final = httpx.URL(options.url.rstrip("/") + _PATH)
        self._slots: Final = asyncio.Semaphore(options.concurrency)
        self._headers: Final = itertools.cycle([_headers(key) for key in options.keys])
        self._extensions: Final = {"timeout": {"connect": options.connect_timeout}}

    async def send(self, body: bytes, model: Model, *, known_model: bool, progress: Progress) -> Drawn:
        """Have one picture drawn.

        Raises:
            GatewayError: of the kind that tells whether anything may have been billed.
        """
        deadline = min(model.timeout or self._options.timeout, self._options.timeout)
        sent = False
        try:
            with Deadline(deadline):
                async with self._slots:
                    await progress.sending("")
                    sent = True
                    return await self._connect_and_post(body, known_model=known_model)
        except TimeoutError:
            if sent:
                raise GatewayError(Kind.UPSTREAM_TIMEOUT, _TIMED_OUT) from None
            message = "The gateway has too many calls to 302.AI in flight; nothing was sent."
            raise GatewayError(Kind.OVERLOADED, message) from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
            message = "302.AI cannot be reached; nothing was sent."
            raise GatewayError(Kind.UPSTREAM_UNREACHABLE, message) from exc
        except httpx.TransportError as exc:
            raise GatewayError(Kind.UPSTREAM_UNKNOWN, _BROKEN) from exc

    async def resume(self, task_id: str, upstream_key: str, model: Model) -> Drawn:
        """V1 has no tasks."""
        raise NotImplementedError

    async def bill(self, request_id: str, upstream_key: str) -> int | None:
        """Not asked for yet."""
        raise NotImplementedError

    async def _connect_and_post(self, body: bytes, *, known_model: bool) -> Drawn:
        try:
            return await self._post(body, known_model=known_model)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            # Nothing was sent, so trying again costs nothing; the pause lets a restarting proxy come back.
            await asyncio.sleep(random.uniform(0.1, 0.3))  # noqa: S311 - not a secret
            return await self._post(body, known_model=known_model)

    async def _post(self, body: bytes, *, known_model: bool) -> Drawn:
        request = httpx.Request(
            "POST", self._url, headers=next(self._headers), content=body, extensions=self._extensions
        )
        response = await self._transport.handle_async_request(request)
        try:
            data = await _read(response)
        finally:
            await response.aclose()
        headers = response.headers
        request_id = headers.get("request-id", "")
        try:
            url = read_answer(response.status_code, data, headers.get("retry-after"), known_model=known_model)
        except GatewayError as error:
            error.upstream_request_id = request_id
            raise
        return Drawn(url, request_id)


async def _read(response: httpx.Response) -> bytes:
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError
    # Not `aiter_raw`, whose bookkeeping of closing costs more than reading these few hundred bytes.
    chunks, size = [], 0
    async for chunk in stream:
        size += len(chunk)
        if size > _LARGEST_ANSWER:
            return b""
        chunks.append(chunk)
    return b"".join(chunks)


def _headers(key: str) -> httpx.Headers:
    fields = [
        ("authorization", f"Bearer {key}"),
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("accept-encoding", "identity"),
        ("user-agent", "gateway302"),
    ]
    return httpx.Headers(fields)
