"""Shuts connections on which nothing is heard any more.

A server ends statements and waits for locks itself, and the kernel gives up a peer that acknowledges nothing; but a
proxy in between may take everything and answer nothing, for ever.
"""

import os
import socket
from contextlib import suppress
from threading import Lock
from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import Engine, event


class Sockets:
    """The sockets of an engine's connections; a database without a server has none."""

    def __init__(self, engine: Engine) -> None:
        self._connections: Final[WeakSet[Any]] = WeakSet()
        self._lock: Final = Lock()  # every thread makes connections of its own
        if engine.dialect.name == "postgresql":
            # Before Core's own, which asks the server its version on the first of them.
            event.listen(engine, "connect", self._add, insert=True)

    def shut(self) -> None:
        """Shut all of them: whoever waits on one, in any thread, is told that it is lost, and opens another."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with suppress(Exception):  # it was closed in this moment
                _shut(connection.fileno())

    def _add(self, connection: object, _record: object) -> None:
        with self._lock:
            self._connections.add(connection)


def _shut(descriptor: int) -> None:
    with socket.socket(fileno=os.dup(descriptor)) as ours:
        ours.shutdown(socket.SHUT_RDWR)
