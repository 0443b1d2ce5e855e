"""httpx's transport seam for the calls of 302's API: small requests, small answers, on connections that are kept.

It exists for two reasons. It knows exactly whether a byte of a request may have left: before `Connection.send`
nothing has, after it nobody can tell. And it is cheap: of a paid call, from `Upstream302.send` to the picture's URL,
aiohttp made 150-180 us of CPU, this makes 65-85, half of which the kernel takes (32 calls at once, uvloop).
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Final

import httpx

from gateway.adapters.upstream.connection import Connection
from gateway.adapters.upstream.dialling import Dialler
from gateway.adapters.upstream.messages import Answered, Origin, Prepared, WholeStream, head_of, origin_of

# In seconds.
_IDLE: Final = 15.0


class KeptTransport(httpx.AsyncBaseTransport):
    """Sends prepared httpx requests on connections of its own, as many as there are calls: the callers bound those.

    Idle connections live for `idle` seconds. 302's side closes them after a minute or more; ours must be the first to
    let go, for a POST into a connection that just closed is an unknown outcome.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, idle: float = _IDLE) -> None:
        self._dialler: Final = Dialler(tls)
        self._idle_limit: Final = idle
        self._open: Final[set[Connection]] = set()
        # Of each origin those that wait, with the moment since when: the one that waits longest comes first. Not a
        # moment of the loop's: to find that, Python 3.11 makes a system call.
        self._idle: Final[dict[Origin, dict[Connection, float]]] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"KeptTransport({len(self._open)} open, {sum(map(len, self._idle.values()))} idle)"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, once: no redirect, no retry, no cookie, no proxy, no decompression.

        `request.extensions["timeout"]` may hold, in seconds, `connect` and `read`; the latter bounds the whole answer.

        Raises:
            httpx.ConnectError, httpx.ConnectTimeout: nothing was sent.
            httpx.TransportError: any other; the request may have arrived.
        """
        timeout = request.extensions.get("timeout", {})
        if isinstance(request, Prepared) and (ready := request.written) is not None:
            origin, written = ready
        else:
            origin, head = origin_of(request.url), head_of(request.method, request.url, request.headers)
            # Its stream is what counts: a body that was read before may have been replaced since.
            body = request.stream
            written = head + (b"".join(body) if isinstance(body, httpx.ByteStream) else await request.aread())
        connection = self._take_idle(origin) or await self._dial(origin, timeout.get("connect"))
        try:
            connection.send(written, timeout.get("read"))
            await connection.head()
        except BaseException:
            connection.finish()
            raise
        answer = _Answer(connection, partial(self._finish, origin))
        return Answered(connection.status, connection.headers, answer, request)

    async def aclose(self) -> None:
        """Close all connections, those with a call on them too."""
        for connection in list(self._open):
            connection.abort()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    async def _dial(self, origin: Origin, within: float | None) -> Connection:
        idle = self._idle.setdefault(origin, {})

        def lost(connection: Connection) -> None:
            self._open.discard(connection)
            idle.pop(connection, None)

        connection = await self._dialler.dial(origin, within, lost)
        if connection.is_closing():
            raise httpx.ConnectError("closed before anything was sent")
        self._open.add(connection)
        return connection

    def _take_idle(self, origin: Origin) -> Connection | None:
        """The one that was used last, so that a quiet hour shrinks the pool."""
        idle, oldest = self._idle.get(origin), time.monotonic() - self._idle_limit
        while idle:
            connection, since = idle.popitem()
            if since > oldest and connection.is_quiet():
                return connection
            connection.abort()
        return None

    def _finish(self, origin: Origin, connection: Connection) -> None:
        if not connection.finish():
            return
        self._idle[origin][connection] = time.monotonic()
        if self._sweeping is None:
            loop = asyncio.get_running_loop()
            self._sweeping = loop.call_later(self._idle_limit, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let those go whose time is over, and come again when the next one's is: one timer, not one a call."""
        oldest, left = time.monotonic() - self._idle_limit, []
        for idle in self._idle.values():
            for connection, since in list(idle.items()):
                if since > oldest:
                    left.append(since)
                    break
                del idle[connection]
                connection.close()
        self._sweeping = loop.call_later(min(left) - oldest, self._sweep, loop) if left else None


class _Answer(WholeStream):
    def __init__(self, connection: Connection, finish: Callable[[Connection], None]) -> None:
        self._connection: Connection | None = connection
        self._finish: Final = finish

    def at_once(self) -> bytes | None:
        return None if self._connection is None else self._connection.whole()

    # Not a generator, which asyncio keeps account of.

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._connection is not None and (data := await self._connection.chunk()):
            return data
        raise StopAsyncIteration

    async def aclose(self) -> None:
        # From here on the connection is another call's.
        connection, self._connection = self._connection, None
        if connection is not None:
            self._finish(connection)
