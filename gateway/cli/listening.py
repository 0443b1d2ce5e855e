"""A port's connections, accepted as fast as they come.

libuv, and so uvloop's own server, accepts one of them in each turn of the event loop (libuv/libuv#3696). Turns are long
while a worker has much to do, so that whoever keeps no connection would wait for seconds while others are answered.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

_LOG: Final = logging.getLogger("gateway302.http")
# What else is ready must not wait for a crowd: each connection costs a tenth of a millisecond.
_MOST_ACCEPTS_A_TURN: Final = 64
# In seconds, as in asyncio's own server. Where there is no file left, the port is ready again at once, and for nothing.
_ACCEPT_RETRY_DELAY: Final = 1.0


class Listener:
    """Accepts what waits at a socket, and makes a protocol for each connection; for uvloop, and one loop."""

    def __init__(
        self, listening: socket.socket, protocol_factory: Callable[[], asyncio.Protocol], *, backlog: int
    ) -> None:
        """`backlog` is how many connections may wait."""
        self._loop: Final = asyncio.get_running_loop()
        self._socket: Final = listening
        self._protocol_factory: Final = protocol_factory
        self.connecting: Final[set[asyncio.Task[object]]] = set()
        """What was accepted, and has no protocol yet."""
        self._retry: asyncio.TimerHandle | None = None
        listening.listen(backlog)
        listening.settimeout(0)
        self._start()

    async def aclose(self) -> None:
        """Accept no more, and return when what was accepted has its protocol; the socket stays open."""
        self._loop.remove_reader(self._socket)
        if self._retry is not None:
            self._retry.cancel()
        await asyncio.gather(*self.connecting, return_exceptions=True)

    def _start(self) -> None:
        self._retry = None
        self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        for _ in range(_MOST_ACCEPTS_A_TURN):
            try:
                connection, _ = self._socket.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue  # its client did not wait for so long
            except OSError as error:
                _LOG.error("no connection is accepted for %.0f s: %s", _ACCEPT_RETRY_DELAY, error.strerror)
                self._loop.remove_reader(self._socket)
                self._retry = self._loop.call_later(_ACCEPT_RETRY_DELAY, self._start)
                return
            connection.settimeout(0)
            task = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol_factory, connection))
            self.connecting.add(task)
            task.add_done_callback(self._connected)

    def _connected(self, task: asyncio.Task[object]) -> None:
        self.connecting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.warning("an accepted connection was lost at once: %s", error)
