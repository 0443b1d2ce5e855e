"""uvicorn's HTTP protocol, made cheaper where it is asked most, and with our errors.

An answer's head and body leave in one write, where uvicorn's two cost a second system call and packet. A request that
was a cache hit and comes again, byte for byte but for the fields that trace it, takes its fast path if that is still
open; else it is read as ever. One timer a connection sees whether it is idle, not one an answer. And to what is no HTTP
uvicorn answers in plain text.
"""

import asyncio
import re
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.cli.gathering import Gathering
from gateway.core.errors import GatewayError, Kind
from gateway.web.fastpath import FastPath, RawReply
from gateway.web.marks import common_headers, new_request_id
from gateway.web.render import Headers, error_reply, length_header
from gateway.web.scope import BODY, FAST_PATH, GONE, REQUEST

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_CONTROLS: Final = bytes({*range(0x20), 0x7F} - {0x09})
# The name of the field becomes another one of its length, so that nothing is shifted wherever it stood.
_OFFER: Final = re.compile(rb"(?i)(?<=\r\n)upgrade(?=:[ \t]*h2c[ \t]*\r\n)")
_AS_LONG: Final = b"offered"
# A request that was a cache hit comes often. So many of them are known, of so many bytes.
_MOST_REQUESTS: Final = 1024
_LONGEST_REQUEST: Final = 4096
_REQUESTS: Final = "gateway.requests"
# Fields by which a request is followed through programs: each has others in them, and nobody here reads them.
_TRACES: Final = re.compile(
    rb"(?i)\r\n(?:traceparent|tracestate|baggage|b3|x-b3-[a-z]+|sentry-trace|uber-trace-id|x-datadog-[a-z-]+"
    rb"|x-amzn-trace-id|x-cloud-trace-context|x-request-id|x-client-request-id|x-correlation-id):[\t\x20-\x7e]*(?=\r\n)"
)
_MOST_TRACES: Final = 12
_OK: Final = STATUS_LINE[200]
_CLOSE: Final = b"%b: %b\r\n" % CLOSE_HEADER
# What uvicorn has to see of an answer's head, for more than writing it.
_NOT_PLAIN: Final = frozenset({b"connection", b"transfer-encoding"})


class GatheringProtocol(HttpToolsProtocol):
    """HttpToolsProtocol over a transport that gathers what is written within one turn of the event loop."""

    _idle_since: float | None = None
    """Since when there is nothing to do, by the loop's clock; None while there is."""
    _is_whole = True
    """Whether what came ended with the end of a request."""
    _begun = 0
    """How many requests began in the piece that came last."""
    _meanwhile: list[bytes] | None = None
    """What came while a request waits on its fast path; None while none does."""
    _is_ending = False
    """Whether the server ends: the answer that is waited for is this connection's last."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own is as narrow
        """Begin a connection."""
        # Of all connections together: uvicorn hands each of them this state. Secrets are in it, so it is nobody else's.
        self._requests: dict[bytes, FastPath] = self.app_state.setdefault(_REQUESTS, {})
        gathering = Gathering(transport, self.loop)
        super().connection_made(gathering)  # type: ignore[arg-type]  # it is one by its methods
        self._gone = gathering.has_hung_up

    def data_received(self, data: bytes) -> None:
        """Read on; a request that is known takes its fast path, and what comes meanwhile waits."""
        if self._meanwhile is not None:
            self._meanwhile.append(data)
            self.flow.pause_reading()
            return
        if not self._is_between:
            self._read(data)
            return
        name = data if data in self._requests else without_traces(data)
        fast_path = self._requests.get(name)
        if fast_path is None or self.flow.write_paused:  # uvicorn waits for those who do not read
            self._read_request(data, name)
            return
        self._meanwhile, self._idle_since = [], None
        fast_path(partial(self._go_on, data, name))

    @property
    def _is_between(self) -> bool:
        """Whether all that came was answered, so that what comes now begins a request."""
        return self._is_whole and (self.cycle is None or self.cycle.response_complete)

    def _read(self, data: bytes) -> None:
        """Have it parsed; an offer to change to HTTP/2 is passed over, as a server may (RFC 7540, 3.2).

        Java's HttpClient and `curl --http2` make one with every first request; the parser would drop the body after it.
        """
        super().data_received(_OFFER.sub(_AS_LONG, data, count=1) if b"h2c" in data else data)

    def _read_request(self, data: bytes, name: bytes) -> None:
        """Read what begins a request; one that is whole, alone in its piece and not special may have a fast path."""
        self._begun = 0
        self._read(data)
        if not self._is_whole or self._begun != 1 or len(data) > _LONGEST_REQUEST:
            return
        cycle = cast("_Cycle", self.cycle)
        if not cycle.waiting_for_100_continue and not self.parser.should_upgrade():
            cycle.remember = partial(self._remember, name)

    def _remember(self, name: bytes, fast_path: FastPath) -> None:
        """Know a request by its bytes; the one that is known longest is forgotten for it."""
        if name not in self._requests and len(self._requests) >= _MOST_REQUESTS:
            del self._requests[next(iter(self._requests))]
        self._requests[name] = fast_path

    def _go_on(self, data: bytes, name: bytes, reply: RawReply | None) -> None:
        """Write the reply to a request that is known, or read it as ever; then go on with what came meanwhile."""
        meanwhile, self._meanwhile = self._meanwhile or [], None
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if reply is not None:
            self._write(reply)
        else:
            self._requests.pop(name, None)
            self._read_request(data, name)
            if self._is_ending:
                super().shutdown()
        for piece in meanwhile:
            if not self.transport.is_closing():
                self.data_received(piece)

    def _write(self, reply: RawReply) -> None:
        """Write a reply of the fast path."""
        close = _CLOSE if self._is_ending else b""
        cast("Gathering", self.transport).write_now(b"%b%b%b\r\n%b" % (_OK, reply.headers, close, reply.body))
        if self._is_ending:
            self.transport.close()
        self.on_response_complete()

    def shutdown(self) -> None:
        """End the connection, after the answer that it waits for."""
        self._is_ending = True
        if self._meanwhile is None:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def on_message_complete(self) -> None:
        """End a request; its answer may be under way."""
        super().on_message_complete()
        self._is_whole = True

    # uvicorn makes and cancels a timer for each answer; here one a connection looks whether it was idle all the time.

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def on_response_complete(self) -> None:
        """Go on with a request that came too soon, or wait for the next one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_again_after(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it has been idle too long."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._look_again_after(left)
        elif not self.transport.is_closing():
            self.transport.close()

    def _look_again_after(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def on_message_begin(self) -> None:
        """Begin a request, which may ask at any time whether its client is still there."""
        super().on_message_begin()
        self._is_whole = False
        self._begun += 1
        self.scope[GONE] = self._gone  # type: ignore[typeddict-unknown-key]

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be parsed: the application is never asked about it, so its refusal is written here."""
        request_id = new_request_id()
        self.logger.warning("%s (%s)", msg, request_id)
        reply = error_reply(GatewayError(Kind.INVALID_HEADERS, "This is no HTTP request that can be read."))
        assert isinstance(reply.pieces, tuple)  # noqa: S101 - an error is of one piece
        headers = [*reply.headers, *length_header(reply), *common_headers(request_id, 0.0), CLOSE_HEADER]
        lines = [b"%b: %b\r\n" % header for header in headers]
        self.transport.write(b"".join([b"HTTP/1.1 400 Bad Request\r\n", *lines, b"\r\n", *reply.pieces]))
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        cycle.__class__ = _Cycle  # uvicorn makes its own kind of them, and nobody can ask it for another
        # Weak: a circle for each request would keep the garbage collector busy.
        cycle.scope[REQUEST] = weakref.ref(cycle)  # type: ignore[typeddict-unknown-key]
        super()._start_asgi_task(cycle, app)


class _Cycle(RequestResponseCycle):
    """One request and its answer; what is plain takes a short way, and everything else uvicorn's."""

    remember: Callable[[FastPath], None] | None = None
    """Told how to answer the same request again, if it may be remembered and somebody knows how."""

    def whole_body(self, limit: int) -> bytes | None:
        """Receive the request's body, if all of it is there already and it has at most `limit` bytes."""
        if self.more_body or self.disconnected or self.response_complete or len(self.body) > limit:
            return None
        body, self.body = bytes(self.body), bytearray()
        self.message_event.clear()
        # A long body had made it stop; who does not read does not hear of a hang-up.
        self.flow.resume_reading()
        return body

    async def send(self, message: Any) -> None:  # noqa: ANN401 - a dict; its type alone makes six
        """Send a part of the answer; where the head has the whole body with it, both at one go."""
        if BODY not in message or not self._answer(message):
            await super().send(message)

    def _answer(self, message: dict[str, Any]) -> bool:
        """Write a plain answer, and take its body out of the message; False where uvicorn has to look at it."""
        headers: list[tuple[bytes, bytes]] = message["headers"]
        body: bytes = message[BODY]
        fields = dict(headers)
        if (
            fields.get(b"content-length") != b"%d" % len(body)
            or self.response_started
            or not self.keep_alive
            or self.disconnected
            or self.flow.write_paused
            or self.access_log
            or self.default_headers
            or self.scope["method"] == "HEAD"
            or not fields.keys().isdisjoint(_NOT_PLAIN)
        ):
            return False
        head = _head(message["status"], headers)
        if head is None:
            return False
        del message[BODY]
        # Only now: on the fast path nobody looks into these headers again for what begins a line.
        if self.remember is not None and FAST_PATH in self.scope:
            self.remember(self.scope[FAST_PATH])  # type: ignore[typeddict-item]
        self.remember = None
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        cast("Gathering", self.transport).write_now(head + body)
        self.message_event.set()
        self.on_response()
        return True


def without_traces(request: bytes) -> bytes:
    """A request's bytes but for the fields that trace it, as far as there are not suspiciously many of them."""
    if len(request) > _LONGEST_REQUEST:
        return request
    end = request.find(b"\r\n\r\n") + 2  # the last field's line with its end
    head, traces = _TRACES.subn(b"", request[:end])
    return head + request[end:] if 0 < traces <= _MOST_TRACES else request


def _head(status: int, headers: Headers) -> bytes | None:
    """An answer's head; None where a header has control characters: its value must not begin a line of its own."""
    head = b"%b%b\r\n\r\n" % (STATUS_LINE[status], b"\r\n".join(map(b": ".join, headers)))
    ends = 2 * (len(headers) + 2)
    return head if len(head.translate(None, _CONTROLS)) == len(head) - ends else None
