"""How a port's connections are taken, on the event loop that the gateway runs on."""

import asyncio
import contextlib
import logging
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from gateway.cli.listening import Listener

CROWD = 20
# What each takes at least: to see that it is ready, and to make its protocol.
FEW_TURNS = 8
LONG = 30.0


class Door(asyncio.Protocol):
    """A protocol that notes its connections."""

    def __init__(self, opened: list[asyncio.BaseTransport]) -> None:
        self.opened = opened
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.opened.append(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(error)


@contextlib.asynccontextmanager
async def listening(at: socket.socket) -> AsyncIterator[tuple[Listener, list[asyncio.BaseTransport]]]:
    """A listener and the connections that it let in; they are closed in the end."""
    opened: list[asyncio.BaseTransport] = []
    doors: list[Door] = []

    def door() -> Door:
        doors.append(Door(opened))
        return doors[-1]

    listener = Listener(at, door, backlog=CROWD)
    yield listener, opened
    await listener.aclose()
    for transport in opened:
        transport.close()
    await asyncio.gather(*(door.lost for door in doors))
    await turns(FEW_TURNS)  # the loop closes files later than it says so


@pytest.fixture
def at() -> Iterator[socket.socket]:
    """A socket on a free port, which does not listen yet."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


def on_uvloop(test: Callable[[socket.socket], Coroutine[Any, Any, None]], at: socket.socket) -> None:
    uvloop.run(asyncio.wait_for(test(at), LONG))


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_all_who_wait_are_let_in_at_once(at: socket.socket) -> None:
    """However many they are, nobody waits for as many turns of the loop."""

    async def test(at: socket.socket) -> None:
        async with listening(at) as (_, opened):
            with contextlib.ExitStack() as stack:
                for _ in range(CROWD):
                    stack.enter_context(socket.create_connection(at.getsockname()))
                await turns(FEW_TURNS)
                assert len(opened) == CROWD
                for transport in opened:
                    assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    on_uvloop(test, at)


def test_who_was_let_in_has_a_protocol_when_the_port_is_closed(at: socket.socket) -> None:
    """A server that ends tells each of its connections, and must know all of them by then."""

    async def test(at: socket.socket) -> None:
        async with listening(at) as (listener, opened):
            with socket.create_connection(at.getsockname()):
                while not listener.beginning:
                    await turns(1)
                assert not opened
                await listener.aclose()
                assert len(opened) == 1

    on_uvloop(test, at)


def test_without_files_the_door_rests_and_is_opened_again(at: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    async def test(at: socket.socket) -> None:
        async with listening(at) as (_, opened):
            with socket.create_connection(at.getsockname()):
                with no_more_files():
                    await turns(FEW_TURNS)
                assert not opened
                while not opened:
                    await turns(1)

    with caplog.at_level(logging.ERROR):
        on_uvloop(test, at)
    assert [record.getMessage() for record in caplog.records] == [
        "no connection can be accepted for 1 s: Too many open files"
    ]


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
