"""Servers that behave as they are told, byte by byte, on free ports of the loopback."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx

Handler = Callable[[bytes, "Conversation"], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def post(url: str, body: bytes = b"body", **timeout: float) -> httpx.Request:
    """A request as an adapter prepares it; `timeout` in seconds, `connect` or `read`."""
    return httpx.Request("POST", url, content=body, extensions={"timeout": timeout})


async def exchange(transport: httpx.AsyncBaseTransport, request: httpx.Request) -> bytes:
    """The body of the answer to a request."""
    response = await transport.handle_async_request(request)
    try:
        return b"".join([chunk async for chunk in response.aiter_raw()])
    finally:
        await response.aclose()


@dataclass
class Conversation:
    """One connection."""

    writer: asyncio.StreamWriter

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def hang_up(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """End the connection with a RST."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


@dataclass
class Scripted:
    """A server and what it has seen."""

    port: int = 0
    scheme: str = "http"
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


@asynccontextmanager
async def scripted(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    """Serve HTTP/1.1 requests by a handler that says what it likes on the connection."""
    seen = Scripted(scheme="https" if tls else "http")
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        writers.add(writer)
        # uvloop says RuntimeError where a peer has gone.
        with suppress(asyncio.IncompleteReadError, ConnectionError, RuntimeError):
            while not writer.is_closing():
                request = await _request(reader)
                seen.requests.append(request)
                await handler(request, Conversation(writer))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


def refusing() -> tuple[socket.socket, str]:
    """A taken port on which nobody listens: every connection is refused as long as the socket is open."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    return taken, f"http://127.0.0.1:{taken.getsockname()[1]}"


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return head + await reader.readexactly(length)
