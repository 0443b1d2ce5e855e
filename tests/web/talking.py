"""Our protocol on a real socket, in front of an application of the test's own, and connections to it."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.cli.protocol import GatheringProtocol
from gateway.cli.serve import HTTP
from gateway.web.scope import BODY

Talk = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Listening:
    """A server that listens; `over` is done when it has ended."""

    server: uvicorn.Server
    port: int
    over: asyncio.Task[None]

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Talk]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def listening(app: ASGIApp, protocol: type[GatheringProtocol] = GatheringProtocol) -> AsyncIterator[Listening]:
    """An application behind our protocol."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, lifespan="off", **HTTP | {"http": protocol})
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([listener]))
        try:
            yield Listening(server, listener.getsockname()[1], task)
        finally:
            server.should_exit = server.force_exit = True
            await task


class Seen:
    """What a server's connections were told; `protocol` is theirs."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self.ending = asyncio.Event()
        seen = self

        class Telling(GatheringProtocol):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                seen.pieces.put_nowait(data)

            def shutdown(self) -> None:
                super().shutdown()
                seen.ending.set()

        self.protocol = Telling

    async def write(self, talk: Talk, piece: bytes) -> None:
        """Write a piece, and wait until it has come as one."""
        while not self.pieces.empty():
            self.pieces.get_nowait()
        talk[1].write(piece)
        assert await self.pieces.get() == piece


@contextlib.asynccontextmanager
async def talking(app: ASGIApp, protocol: type[GatheringProtocol] = GatheringProtocol) -> AsyncIterator[Talk]:
    """A connection to an application behind our protocol."""
    async with listening(app, protocol) as served, served.connect() as (reader, writer):
        yield reader, writer


def answering(*bodies: bytes, headers: tuple[tuple[bytes, bytes], ...], at_once: bool = True) -> ASGIApp:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        start: Message = {"type": "http.response.start", "status": 200, "headers": [*headers]}
        if at_once and len(bodies) == 1:
            start[BODY] = bodies[0]
        await send(start)
        for body in bodies[:-1]:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        if not at_once or BODY in start or len(bodies) > 1:
            await send({"type": "http.response.body", "body": bodies[-1]})

    return app


async def answer_to(talk: Talk, *pieces: bytes) -> bytes:
    """Write what is to be asked, and read one answer that tells its length."""
    reader, writer = talk
    for piece in pieces:
        writer.write(piece)
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    assert length, head
    return head + await reader.readexactly(int(length[1]))
