"""The wire between gateway and simulator, which can be cut: before a call, after it, and in the midst of its answer."""

import asyncio
import socket
import struct
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Final
from urllib.parse import urlsplit

# What can become of a call that would have been answered; the name says when, and who is left in the dark.
FATES: Final = (
    "reset-before",  # the call never arrives
    "reset-after",  # it arrives, and nobody waits for the answer
    "drop-reply",  # the answer is written, and not one byte of it comes through
    "half-reply",  # the head of the answer comes through, and an orderly end
    "half-close",  # the call arrives, and the gateway reads an end where the answer should be
    "black-hole",  # nothing comes, and nothing ends
    "latency",  # all comes, late
)
_CALL: Final = b"POST /302/"
_POLL: Final = b"GET /302/v2/"
_PICTURE: Final = b"GET /gpt/imgs/"
_PIECE: Final = 65_536
# Polls cost nothing and are repeated: one in so many shares the fate of calls.
_POLLS_SPARED: Final = 4
_LATE: Final = 0.5


@dataclass
class Wire:
    """A TCP proxy in front of a server; `rate` of all calls meet a fate drawn by lot, of those in `fates`.

    Who asks for a picture sets `looked`, and waits until `shown` is set.
    """

    url: str
    lot: Random
    rate: float = 0.0
    fates: tuple[str, ...] = FATES
    met: Counter[str] = field(default_factory=Counter)
    port: int = 0
    looked: asyncio.Event = field(default_factory=asyncio.Event)
    shown: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Show pictures until it is told otherwise."""
        self.shown.set()

    async def open(self) -> None:
        """Listen, again on the same port after `close`."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Refuse connections from now on, and break those that are there."""
        if self._server is not None:
            self._server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def mend(self) -> None:
        """Let everything through from now on."""
        self.rate = 0.0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._running.add(task)
        try:
            await self._carry(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # cut by either side, or by `close`
        finally:
            self._running.discard(task)
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self.url)
        there, back = await asyncio.open_connection(parts.hostname, parts.port)
        line = _Line(there, writer)
        answers = asyncio.get_running_loop().create_task(line.answer())
        try:
            while data := await reader.read(_PIECE):
                if data.startswith((_CALL, _POLL)):
                    line.fate = self._draw(data)
                if line.fate == "reset-before":
                    _reset(writer)
                    return
                if data.startswith(_PICTURE):
                    self.looked.set()
                    await self.shown.wait()
                back.write(data)
                await back.drain()
                line.sent()
        finally:
            # What was sent is carried out, whoever has hung up.
            answers.cancel()
            back.close()

    def _draw(self, data: bytes) -> str:
        if not self.rate or self.lot.random() >= self.rate:
            return ""
        if data.startswith(_POLL) and self.lot.randrange(_POLLS_SPARED):
            return ""
        fate = self.lot.choice(self.fates)
        self.met[fate] += 1
        return fate


@dataclass
class _Line:
    """The way back of one connection; `fate` is that of the call under way."""

    there: asyncio.StreamReader
    writer: asyncio.StreamWriter
    fate: str = ""

    def sent(self) -> None:
        """The call has left for the server."""
        if self.fate == "reset-after":
            _reset(self.writer)
        elif self.fate == "half-close":
            with suppress(OSError):
                self.writer.write_eof()

    async def answer(self) -> None:
        """Carry answers back, as far as their fate lets them."""
        with suppress(OSError):
            while data := await self.there.read(_PIECE):
                if self.fate == "drop-reply":
                    _reset(self.writer)
                    return
                if self.fate == "half-reply":
                    data = data[: max(1, len(data) * 2 // 3)]
                elif self.fate in {"black-hole", "reset-after", "half-close"}:
                    continue
                elif self.fate == "latency":
                    await asyncio.sleep(_LATE)
                self.writer.write(data)
                await self.writer.drain()
                if self.fate == "half-reply":
                    break
            self.writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a crash does: with a reset, and without what was still to be sent."""
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
