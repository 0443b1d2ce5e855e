"""What surrounds every endpoint: the request id, the guard of headers and bodies, errors, and the one record of it all.

Pure ASGI, one layer: a `BaseHTTPMiddleware` would cost more than all the rest of a cache hit.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import getrandbits
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.core.errors import GatewayError, Kind, internal_error
from gateway.core.outcome import Outcome
from gateway.flights import Deadline
from gateway.ports import Clock, Observer
from gateway.web.render import Headers, Reply, error_reply

_MOST_HEADERS: Final = 100
_LONGEST_HEADERS: Final = 32 * 1024
# A body may be this many seconds silent, and must come at 64 KiB a second after the first ten.
_IDLE: Final = 10.0
_SLOWEST: Final = 64 * 1024
_LONGEST_LENGTH: Final = 18
OUTCOME: Final = "gateway.outcome"
HEADERS: Final = "gateway.headers"

Endpoint = Callable[[Scope, Receive], Awaitable[Reply]]
Hot = Mapping[tuple[str, str], Endpoint]


class ClientGoneError(Exception):
    """The client hung up before its request was read."""


class Front:
    """The outermost application: hot endpoints from a dict, everything else through Starlette."""

    def __init__(self, hot: Hot, rest: ASGIApp, observer: Observer, clock: Clock) -> None:
        self._hot: Final = hot
        self._rest: Final = rest
        self._observer: Final = observer
        self._clock: Final = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event of the server."""
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        started = self._clock.monotonic()
        outcome = Outcome(f"req_{getrandbits(128):032x}", _method(scope["method"]))
        scope[OUTCOME] = outcome
        exchange = _Exchange(self._clock, started, outcome, send)
        try:
            scope[HEADERS] = guard(scope["headers"])
            endpoint = self._hot.get((scope["method"], scope["path"]))
            if endpoint is None:
                await self._rest(scope, receive, exchange.send)
            else:
                await exchange.reply(await endpoint(scope, receive))
        except ClientGoneError:
            outcome.status, outcome.code = 499, "client_closed_request"
        except GatewayError as error:
            await exchange.fail(error)
        except Exception as error:  # noqa: BLE001 - the last line of defence: the caller gets an answer, the log the cause
            await exchange.fault(self._observer, error)
        finally:
            outcome.ms = round((self._clock.monotonic() - started) * 1000, 2)
            self._observer.request(outcome)


class _Exchange:
    """One answer on its way out, with the headers that every answer carries."""

    def __init__(self, clock: Clock, started: float, outcome: Outcome, send: Send) -> None:
        self._clock = clock
        self._started = started
        self._outcome = outcome
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *self._begin(message["status"])]
        await self._send(message)

    async def reply(self, reply: Reply) -> None:
        headers = [*reply.headers, (b"content-length", b"%d" % reply.length), *self._begin(reply.status)]
        await self._send({"type": "http.response.start", "status": reply.status, "headers": headers})
        last = None
        for piece in reply.pieces:
            if last is not None:
                await self._send({"type": "http.response.body", "body": last, "more_body": True})
            last = piece
        await self._send({"type": "http.response.body", "body": last or b""})

    def _begin(self, status: int) -> Headers:
        outcome = self._outcome
        outcome.status = status
        outcome.code = outcome.code or "ok"
        spent = int((self._clock.monotonic() - self._started) * 1000)
        return [
            (b"x-request-id", outcome.request_id.encode()),
            (b"openai-processing-ms", b"%d" % spent),
            _VERSION,
            _NO_SNIFFING,
        ]

    async def fail(self, error: GatewayError) -> None:
        self._outcome.code = error.kind.row.code
        reply = error_reply(error)
        if self._outcome.status == 0:
            # The body may not have been read: what is left of it must not be taken for the next request.
            reply.headers.append((b"connection", b"close")) if error.kind in _UNREAD else None
            await self.reply(reply)

    async def fault(self, observer: Observer, error: Exception) -> None:
        observer.fault(self._outcome.request_id, error)
        await self.fail(internal_error())


_VERSION: Final = (b"openai-version", b"2020-10-01")
_NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")
_UNREAD: Final = frozenset(
    {
        Kind.INVALID_API_KEY,
        Kind.INVALID_HEADERS,
        Kind.REQUEST_TOO_LARGE,
        Kind.REQUEST_TIMEOUT,
        Kind.UNSUPPORTED_MEDIA_TYPE,
    }
)


def guard(raw: Headers) -> dict[bytes, bytes]:
    """Refuse heads that no honest client sends and that proxies read differently than we do; the others by name.

    Raises:
        GatewayError: `invalid_headers`.
    """
    headers = dict(raw)
    repeated = len(headers) != len(raw)
    length = sum([len(value) for _, value in raw]) if repeated else sum(map(len, headers.values()))
    if len(raw) > _MOST_HEADERS or length > _LONGEST_HEADERS:
        message = f"The request has too many headers: at most {_MOST_HEADERS}, {_LONGEST_HEADERS} bytes together."
        raise GatewayError(Kind.INVALID_HEADERS, message)
    if b"host" not in headers or (repeated and [name for name, _ in raw].count(b"host") > 1):
        raise GatewayError(Kind.INVALID_HEADERS, "The request needs exactly one Host header.")
    if b"transfer-encoding" in headers and b"content-length" in headers:
        raise GatewayError(Kind.INVALID_HEADERS, "The request has both Content-Length and Transfer-Encoding.")
    return headers


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Read a request's body, at most `limit` bytes of it, and not for ever.

    Raises:
        GatewayError: `request_too_large`, `request_timeout`.
        ClientGoneError: nobody is there any more.
    """
    announced = scope[HEADERS].get(b"content-length", b"0")
    if not announced.isdigit() or len(announced) > _LONGEST_LENGTH or int(announced) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    clock = asyncio.get_running_loop().time
    latest = clock() + _IDLE
    try:
        with Deadline(_IDLE) as deadline:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
                if not message.get("more_body"):
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
                deadline.renew(min(_IDLE, latest + size / _SLOWEST - clock()))
    except TimeoutError:
        raise GatewayError(Kind.REQUEST_TIMEOUT, "The request's body came too slowly.") from None


def _too_large(limit: int) -> GatewayError:
    return GatewayError(Kind.REQUEST_TOO_LARGE, f"The body is too large: at most {limit} bytes are taken.")


def _method(method: str) -> str:
    return method if method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} else "OTHER"
