"""One kept-alive HTTP/1.1 connection: a request goes out, its answer comes in, and then the next.

The rule of this module: once `send` was called, whatever ends a call is an error that says the request may have
arrived. Nothing is sent twice, and bytes that nobody asked for end the connection. Parsing is httptools', which is
strict about how an answer is framed.
"""

import asyncio
import select
from collections.abc import Callable
from typing import Final, cast

import httptools
import httpx

# An answer's head and the interim ones (1xx) before it, in bytes.
_LARGEST_HEAD: Final = 64 * 1024
# More than this many bytes of a body are not read ahead of whoever reads it.
_READ_AHEAD: Final = 256 * 1024
_FIRST_FINAL_STATUS: Final = 200
_FRAMING: Final = (b"content-length", b"transfer-encoding")

# How far a call is: none, waiting for the answer's head, in its body, answered.
_IDLE, _HEAD, _BODY, _DONE = range(4)


class Connection(asyncio.Protocol):
    """Carries one call at a time; `on_lost` is told when it is gone."""

    def __init__(self, on_lost: Callable[["Connection"], None]) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._on_lost: Final = on_lost
        self._loop: Final = asyncio.get_running_loop()
        self._parser: Final = httptools.HttpResponseParser(self)
        self._poll: Final = select.poll()
        self._state = _IDLE
        self._head_size = 0
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self._persistent = True
        self._error: httpx.TransportError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._transport.is_closing()

    def is_quiet(self) -> bool:
        """Whether it is open and nothing waits to be read; the kernel may know of a peer's end before the loop does."""
        return not self._transport.is_closing() and not self._poll.poll(0)

    def send(self, request: bytes, timeout: float | None) -> None:
        """Write a request; its answer has to be whole within `timeout` seconds."""
        self._state, self._head_size, self.headers = _HEAD, 0, []
        if timeout is not None:
            self._deadline = self._loop.call_later(timeout, self._fail, httpx.ReadTimeout("no whole answer in time"))
        self._transport.write(request)

    async def head(self) -> None:
        """Wait until `status` and `headers` are those of the answer.

        Raises:
            httpx.TransportError: the call failed; the request may have arrived.
        """
        while self._state == _HEAD:
            if self._error is not None:
                raise self._error
            await self._wait()

    def whole(self) -> bytes | None:
        """What is left of the answer's body, where all of it has come; None else."""
        if self._state != _DONE:
            return None
        data = b"".join(self._chunks)
        self._forget_body()
        return data

    async def chunk(self) -> bytes:
        """The next piece of the answer's body; empty at its end.

        Raises:
            httpx.TransportError: the answer broke off.
        """
        while True:
            if self._chunks:
                data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
                self._forget_body()
                return data
            if self._error is not None:
                raise self._error
            if self._state == _DONE:
                return b""
            await self._wait()

    def finish(self) -> bool:
        """End the call, however far it has come; False where the connection can take no other one and is closed."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        clean = self._state == _DONE and self._persistent and not self._transport.get_write_buffer_size()
        if not clean or self._transport.is_closing():
            self._transport.abort()
            return False
        self._state = _IDLE
        self._forget_body()
        return True

    def close(self) -> None:
        """Let an idle connection go."""
        self._transport.close()

    def abort(self) -> None:
        """Close it at once; a call that waits on it fails."""
        self._fail(httpx.ReadError("the connection was closed on our side"))

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open, and TLS is agreed on."""
        self._transport = cast("asyncio.Transport", transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Read on in the answer."""
        if self._state == _HEAD:
            self._head_size += len(data)
        elif self._state != _BODY:
            self._persistent = False
            self._transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self._fail(httpx.RemoteProtocolError("not an HTTP/1.1 answer"), exc)
        if self._state == _HEAD and self._head_size > _LARGEST_HEAD:
            self._fail(httpx.RemoteProtocolError("the head of the answer is too large"))

    def eof_received(self) -> None:
        """Where nothing else tells a body's end, this is it."""
        if self._state == _BODY and not any(name.lower() in _FRAMING for name, _ in self.headers):
            self._state = _DONE
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if exc is not None:
            self._fail(httpx.ReadError(type(exc).__name__), exc)
        elif self._state == _HEAD:
            self._fail(httpx.RemoteProtocolError("closed without an answer"))
        else:
            self._fail(httpx.ReadError("closed before the end of the answer"))
        self._on_lost(self)

    # What httptools tells. An answer's trailer, and anything after its end, is nobody's.

    def on_message_begin(self) -> None:
        """An answer begins; a second one to one request makes the connection useless."""
        self._persistent = self._state == _HEAD

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head."""
        if self._state == _HEAD:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        if self._state != _HEAD:
            return
        self.status = self._parser.get_status_code()
        if self.status >= _FIRST_FINAL_STATUS:
            self._state = _BODY
            self._wake()
        else:
            self.headers = []

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if self._state != _BODY:
            return
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered > _READ_AHEAD and not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()
            self._wake()  # only now: most answers are read at one go, when they are whole

    def on_message_complete(self) -> None:
        """The answer is whole, or an interim one was."""
        if self._state == _BODY:
            self._state = _DONE
            self._persistent = self._parser.should_keep_alive()
            self._wake()

    def _fail(self, error: httpx.TransportError, cause: Exception | None = None) -> None:
        if self._state in (_HEAD, _BODY) and self._error is None:
            error.__cause__ = cause
            self._error = error
            self._wake()
        self._persistent = False
        self._transport.abort()

    def _forget_body(self) -> None:
        self._chunks.clear()
        self._buffered = 0
        if self._paused:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
