"""What surrounds every endpoint: the request id, the guard of headers and bodies, errors, and the one record of it all.

Pure ASGI, one layer: a `BaseHTTPMiddleware` would cost more than all the rest of a cache hit.
"""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.core.errors import GatewayError, Kind, internal_error
from gateway.core.outcome import Outcome, told_ms
from gateway.flights import Deadline
from gateway.ports import Clock, Observer
from gateway.web.marks import common_headers, new_request_id
from gateway.web.places import canonical
from gateway.web.render import Headers, Reply, error_reply, length_header
from gateway.web.scope import BODY, HEADERS, OUTCOME, REQUEST, Incoming

_MOST_HEADERS: Final = 100
_LONGEST_HEADERS: Final = 32 * 1024
# A body may be this many seconds silent, and must come at 64 KiB a second after the first ten.
_IDLE: Final = 10.0
_SLOWEST: Final = 64 * 1024
# Digits of a Content-Length: one with more is too large by any limit, and `int` refuses thousands of them.
_LONGEST_LENGTH: Final = 18
# What is told before the body was read to its end.
_UNREAD: Final = frozenset(
    {
        Kind.INVALID_API_KEY,
        Kind.KEY_DISABLED,
        Kind.KEY_EXPIRED,
        Kind.INVALID_HEADERS,
        Kind.REQUEST_TOO_LARGE,
        Kind.REQUEST_TIMEOUT,
        Kind.UNSUPPORTED_MEDIA_TYPE,
    }
)

Endpoint = Callable[[Scope, Receive], Awaitable[Reply]]
Hot = Mapping[tuple[str, str], Endpoint]


class ClientGoneError(Exception):
    """The client hung up before its request was read."""


class Front:
    """The outermost application: gives a request its id, and tells the observer when it is over."""

    def __init__(self, app: ASGIApp, observer: Observer, clock: Clock) -> None:
        self._app: Final = app
        self._observer: Final = observer
        self._clock: Final = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one event of the server."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        clock = self._clock.monotonic
        started = clock()
        outcome = Outcome(new_request_id(), _method(scope["method"]))
        scope[OUTCOME] = outcome

        def mark(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                outcome.status = message["status"]
                outcome.code = outcome.code or "ok"
                message["headers"] += common_headers(outcome.request_id, (clock() - started) * 1000)
            return send(message)

        try:
            await self._app(scope, receive, mark)
        finally:
            outcome.ms = told_ms(clock() - started)
            self._observer.request(outcome)


class Dispatch:
    """Hot endpoints from a dict, everything else through Starlette; every failure becomes an answer."""

    def __init__(self, hot: Hot, rest: ASGIApp, observer: Observer) -> None:
        self._hot: Final = hot
        self._rest: Final = rest
        self._observer: Final = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        outcome: Outcome = scope[OUTCOME]
        try:
            scope[HEADERS] = guard(scope["headers"])
            endpoint = self._hot.get((scope["method"], scope["path"]))
            if endpoint is None:
                scope["path"] = canonical(scope)
                endpoint = self._hot.get((scope["method"], scope["path"]))
            if endpoint is None:
                await self._rest(scope, receive, send)
            else:
                await send_reply(await endpoint(scope, receive), send)
        except ClientGoneError:
            gone = Kind.CLIENT_CLOSED_REQUEST.row
            outcome.status, outcome.code = gone.status, gone.code
        except GatewayError as error:
            await self._fail(error, outcome, send)
        except Exception as error:  # noqa: BLE001 - the last line of defence: the caller gets an answer, the log the cause
            self._observer.fault(outcome.request_id, error)
            await self._fail(internal_error(), outcome, send)

    async def _fail(self, error: GatewayError, outcome: Outcome, send: Send) -> None:
        outcome.code = error.kind.row.code
        if outcome.status == 0:
            reply = error_reply(error)
            if error.kind in _UNREAD:
                # The body was not read: what is left of it must not be taken for the next request.
                reply.headers.append((b"connection", b"close"))
            await send_reply(reply, send)


async def send_reply(reply: Reply, send: Send) -> None:
    """Send an answer piece by piece, `send` waits while the client takes its time; then, come what may, close it."""
    headers = [*reply.headers, *length_header(reply)]  # another list: whoever hands it on adds to it
    start: Message = {"type": "http.response.start", "status": reply.status, "headers": headers}
    try:
        if isinstance(reply.pieces, tuple) and len(reply.pieces) == 1:
            start[BODY] = reply.pieces[0]
            await send(start)
            if BODY in start:
                await send({"type": "http.response.body", "body": reply.pieces[0]})
        else:
            await send(start)
            await _send_pieces(reply, send)
    finally:
        reply.close()


async def _send_pieces(reply: Reply, send: Send) -> None:
    if isinstance(reply.pieces, AsyncIterable):
        async for piece in reply.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    last = b""
    for piece in reply.pieces:
        if last:
            await send({"type": "http.response.body", "body": last, "more_body": True})
        last = piece
    await send({"type": "http.response.body", "body": last})


def guard(raw: Headers) -> dict[bytes, bytes]:
    """Refuse heads that no honest client sends and that proxies read differently than we do; the others by name.

    Raises:
        GatewayError: `invalid_headers`.
    """
    headers = dict(raw)
    repeated = len(headers) != len(raw)
    names, values = zip(*raw, strict=True) if repeated else (headers, headers.values())
    length = sum(map(len, names)) + sum(map(len, values))
    if len(raw) > _MOST_HEADERS or length > _LONGEST_HEADERS:
        message = f"The request has too many headers: at most {_MOST_HEADERS}, {_LONGEST_HEADERS} bytes together."
        raise GatewayError(Kind.INVALID_HEADERS, message)
    if b"host" not in headers or (repeated and [name for name, _ in raw].count(b"host") > 1):
        raise GatewayError(Kind.INVALID_HEADERS, "The request needs exactly one Host header.")
    if repeated and len({value for name, value in raw if name == b"idempotency-key"}) > 1:
        raise GatewayError(Kind.INVALID_HEADERS, "The request has several Idempotency-Keys; it may have one.")
    if b"transfer-encoding" in headers and b"content-length" in headers:
        raise GatewayError(Kind.INVALID_HEADERS, "The request has both Content-Length and Transfer-Encoding.")
    return headers


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Read a request's body, at most `limit` bytes of it, and not for ever; one that is there needs no timer.

    Raises:
        GatewayError: `request_too_large`, `request_timeout`.
        ClientGoneError: nobody is there any more.
    """
    announced = scope[HEADERS].get(b"content-length", b"0")
    if not announced.isdigit() or len(announced) > _LONGEST_LENGTH or int(announced) > limit:
        raise _too_large(limit)
    body = body_at_once(scope, limit)
    return await _read(receive, limit) if body is None else body


def body_at_once(scope: Scope, limit: int) -> bytes | None:
    """A request's body of at most `limit` bytes, where all of it is there already."""
    request: Callable[[], Incoming | None] | None = scope.get(REQUEST)
    incoming = None if request is None else request()
    return None if incoming is None else incoming.whole_body(limit)


async def _read(receive: Receive, limit: int) -> bytes:
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
