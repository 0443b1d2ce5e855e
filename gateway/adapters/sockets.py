"""Shuts connections on which nothing is heard any more.

A server ends statements and waits for locks itself, and the kernel gives up a peer that acknowledges nothing; but a
proxy in between may take everything and answer nothing, for ever.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError

from gateway.ports import DatabaseUnavailableError


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


@contextmanager
def watched(engine: Engine, opened: float, asked: float) -> Iterator[None]:
    """While the block lasts, shut the connections of a new engine on which nothing is heard; for one thread.

    A connection that is `opened` may take so many seconds for all that Core asks on it first, one that is `asked` for
    each statement.

    Raises:
        DatabaseUnavailableError: the block failed, and a connection had been silent.
    """
    if engine.dialect.name != "postgresql":
        yield
        return
    sockets = Sockets(engine)
    allowed: SimpleQueue[float | None] = SimpleQueue()
    silent = Event()

    def watch() -> None:
        within = allowed.get()
        while within is not None:
            try:
                within = allowed.get(timeout=within)
            except Empty:
                silent.set()
                sockets.shut()

    # Before Core's own, as above; until then it is the driver that gives up.
    event.listen(engine, "connect", lambda *_: allowed.put(opened), insert=True)
    # Whoever executes a statement has heard the answer to the last.
    event.listen(engine, "before_cursor_execute", lambda *_: allowed.put(asked))
    thread = Thread(target=watch, name="database-watch", daemon=True)
    thread.start()
    try:
        yield
    except DBAPIError as error:
        if silent.is_set():  # libpq says of that that the server terminated abnormally
            raise DatabaseUnavailableError("it takes what is sent, and answers nothing") from error
        raise
    finally:
        allowed.put(None)
        thread.join()


def _shut(descriptor: int) -> None:
    with socket.socket(fileno=os.dup(descriptor)) as ours:
        ours.shutdown(socket.SHUT_RDWR)
