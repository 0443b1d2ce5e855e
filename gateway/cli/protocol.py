"""uvicorn's HTTP protocol, with an answer's head and body leaving in one write, and with our errors.

uvicorn writes them apart, which costs a second system call and a second packet for every small answer; and to what is
no HTTP it answers in plain text.
"""

import asyncio
from random import getrandbits
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.core.errors import GatewayError, Kind
from gateway.web.render import error_reply
from gateway.web.scope import GONE

# More than this is not held back: a long body is written as it comes, and the transport's own flow control applies.
_MOST_HELD: Final = 16 * 1024


class GatheringProtocol(HttpToolsProtocol):
    """HttpToolsProtocol over a transport that gathers what is written within one turn of the event loop."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own is as narrow
        """Begin a connection."""
        super().connection_made(_Gathering(transport, self.loop))  # type: ignore[arg-type]  # it is one by its methods

    def on_message_begin(self) -> None:
        """Begin a request, which may ask at any time whether its client is still there."""
        super().on_message_begin()
        self.scope[GONE] = self.transport.is_closing  # type: ignore[typeddict-unknown-key]

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be parsed: the application is never asked about it, so its refusal is written here."""
        request_id = f"req_{getrandbits(128):032x}"
        self.logger.warning("%s (%s)", msg, request_id)
        reply = error_reply(GatewayError(Kind.INVALID_HEADERS, "This is no HTTP request that can be read."))
        assert isinstance(reply.pieces, tuple)  # noqa: S101 - an error is of one piece
        headers = [
            *reply.headers,
            (b"x-request-id", request_id.encode()),
            (b"content-length", b"%d" % (reply.length or 0)),
        ]
        lines = [b"%b: %b\r\n" % header for header in [*headers, (b"connection", b"close")]]
        self.transport.write(b"".join([b"HTTP/1.1 400 Bad Request\r\n", *lines, b"\r\n", *reply.pieces]))
        self.transport.close()


class _Gathering:
    """A transport whose small writes are joined; everything else is the transport's own."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport: Final = transport
        self._loop: Final = loop
        self._held: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the transport has
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Hold data back until the loop's next turn, or write it with what was held if it is long."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._size += len(data)
        if self._size > _MOST_HELD:
            self._flush()

    def is_closing(self) -> bool:
        """Whether the transport is closing."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Write what is held, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if not self._held:
            return
        held, self._held, self._size = self._held, [], 0
        if not self._transport.is_closing():
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))
