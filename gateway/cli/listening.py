"""A port's connections, taken as fast as they come.

libuv, and so uvloop's own server, takes one of them in each turn of the event loop (libuv/libuv#3696). Turns are long
while a worker has much to do, so that whoever keeps no connection would wait for seconds while others are answered.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Final

_LOG: Final = logging.getLogger("gateway302.http")
# What else is ready must not wait for a crowd at the door: each of them costs a tenth of a millisecond.
_MOST_A_TURN: Final = 64
# In seconds, as in asyncio's own server. Without files left, the port would be ready again at once, and for nothing.
_REST: Final = 1.0
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Listener:
    """Accepts what waits at a socket, and makes a protocol for each connection; for uvloop, and one loop."""

    def __init__(self, at: socket.socket, protocol: Callable[[], asyncio.Protocol], *, backlog: int) -> None:
        """`backlog` is how many connections may wait."""
        self._loop: Final = asyncio.get_running_loop()
        self._socket: Final = at
        self._protocol: Final = protocol
        self.beginning: Final[set[asyncio.Task[object]]] = set()
        """What was accepted, and has no protocol yet."""
        self._rest: asyncio.TimerHandle | None = None
        at.listen(backlog)
        at.settimeout(0)
        self._begin()

    async def aclose(self) -> None:
        """Accept no more, and return when what was accepted has its protocol; the socket stays open."""
        self._loop.remove_reader(self._socket)
        if self._rest is not None:
            self._rest.cancel()
        await asyncio.gather(*self.beginning, return_exceptions=True)

    def _begin(self) -> None:
        self._rest = None
        self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        for _ in range(_MOST_A_TURN):
            try:
                connection, _ = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    _LOG.error("no connection can be accepted for %.0f s: %s", _REST, error.strerror)
                    self._loop.remove_reader(self._socket)
                    self._rest = self._loop.call_later(_REST, self._begin)
                    return
                continue  # that one is over already (accept(2), "Error handling")
            connection.settimeout(0)
            beginning = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, connection))
            self.beginning.add(beginning)
            beginning.add_done_callback(self._begun)

    def _begun(self, beginning: asyncio.Task[object]) -> None:
        self.beginning.discard(beginning)
        if not beginning.cancelled() and (error := beginning.exception()) is not None:
            _LOG.warning("a connection could not be begun: %s", error)
