"""How a port's connections are accepted, on the event loop that the gateway runs on."""

import asyncio
import contextlib
import logging
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from itertools import pairwise
from typing import Any

import pytest
import uvloop

from gateway.cli.listening import Listener

CROWD = 20
# Enough for one of them to be seen, accepted and given its protocol, and fewer than the crowd: one a turn would fail.
FEW_TURNS = 8
MOST_A_TURN = 64
LONG = 30.0


class Connection(asyncio.Protocol):
    """A protocol that notes how it goes."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.made: asyncio.Future[asyncio.BaseTransport] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made.set_result(transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost.set_result(None)


class Server:
    """A listener and its connections."""

    def __init__(self, listening: socket.socket) -> None:
        self.connections: list[Connection] = []
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.address = listening.getsockname()
        self.listener = Listener(listening, self._connection, backlog=4 * MOST_A_TURN)

    @property
    def accepted(self) -> int:
        return len(self.listener.connecting) + sum(connection.made.done() for connection in self.connections)

    def crowd(self, count: int) -> contextlib.ExitStack:
        """Clients who connect at once."""
        with contextlib.ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(socket.create_connection(self.address))
            return stack.pop_all()

    async def aclose(self) -> None:
        await self.listener.aclose()
        for connection in self.connections:
            connection.made.result().close()
        await asyncio.gather(*(connection.lost for connection in self.connections))
        await turns(FEW_TURNS)  # the loop closes files later than it says so

    def _connection(self) -> Connection:
        self.connections.append(Connection())
        if not self.first.done():
            self.first.set_result(None)
        return self.connections[-1]


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A socket on a free port, which does not listen yet."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


def on_uvloop(test: Callable[[Server], Coroutine[Any, Any, None]], listening: socket.socket) -> None:
    async def with_server() -> None:
        async with serving(listening) as server, asyncio.timeout(LONG):
            await test(server)

    uvloop.run(with_server())


@contextlib.asynccontextmanager
async def serving(listening: socket.socket) -> AsyncIterator[Server]:
    server = Server(listening)
    try:
        yield server
    finally:
        await server.aclose()


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_all_who_wait_are_accepted_at_once(listening: socket.socket) -> None:
    """However many they are, nobody waits for as many turns of the loop."""

    async def test(server: Server) -> None:
        with server.crowd(CROWD):
            await turns(FEW_TURNS)
            assert sum(connection.made.done() for connection in server.connections) == CROWD

    on_uvloop(test, listening)


def test_a_crowd_does_not_hold_up_what_else_is_ready(listening: socket.socket) -> None:
    async def test(server: Server) -> None:
        accepted = [0]
        with server.crowd(MOST_A_TURN + CROWD):
            while accepted[-1] < MOST_A_TURN + CROWD:
                await turns(1)
                accepted.append(server.accepted)
        assert max(after - before for before, after in pairwise(accepted)) == MOST_A_TURN

    on_uvloop(test, listening)


def test_small_answers_are_not_held_back(listening: socket.socket) -> None:
    """Nagle's algorithm would wait until the client has acknowledged the one before; asyncio turns it off."""

    async def test(server: Server) -> None:
        with server.crowd(1):
            await server.first
            transport = await server.connections[0].made
            assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    on_uvloop(test, listening)


def test_who_was_accepted_has_a_protocol_when_the_listener_is_closed(listening: socket.socket) -> None:
    """A server that ends tells each of its connections, and must know all of them by then."""

    async def test(server: Server) -> None:
        with server.crowd(1):
            while not server.listener.connecting:
                await turns(1)
            assert not server.connections
            await server.listener.aclose()
            assert server.connections[0].made.done()

    on_uvloop(test, listening)


def test_without_files_nothing_is_accepted_for_a_second(
    listening: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(server: Server) -> None:
        with server.crowd(1):
            with no_more_files():
                await turns(FEW_TURNS)
            assert not server.accepted
            await server.first

    with caplog.at_level(logging.WARNING):
        on_uvloop(test, listening)
    assert [record.getMessage() for record in caplog.records] == [
        "no connection is accepted for 1 s: Too many open files"
    ]


def test_a_listener_is_closed_while_nothing_can_be_accepted(listening: socket.socket) -> None:
    async def test(server: Server) -> None:
        with server.crowd(1), no_more_files():
            await turns(FEW_TURNS)
            await server.listener.aclose()
            assert server.listener._retry is not None
            assert server.listener._retry.cancelled()

    on_uvloop(test, listening)


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    """This process can open none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
