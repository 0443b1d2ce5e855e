"""A downloader in front of nothing but the loopback, and a DNS in a dict."""

import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.adapters.clock import SystemClock
from gateway.adapters.download import GuardedDownloader, Hosts, PublicResolver
from gateway.adapters.shelf import Shelf
from gateway.adapters.transport import pooled

ORIGIN = "https://api.302.ai"
Fetch = Callable[[str], Awaitable[bytes]]


class Names(AbstractResolver):
    """A DNS in a dict: what a name leads to, one answer after the other, the last for ever."""

    def __init__(self, answers: dict[str, list[list[str]]]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        turns = self.answers.get(host, [[]])
        addresses = turns.pop(0) if len(turns) > 1 else turns[0]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        return None


@asynccontextmanager
async def fetching(
    origin: str, image_hosts: Sequence[str] = (), names: Names | None = None, budget: int = 2**20
) -> AsyncIterator[Fetch]:
    """A downloader in front of nothing but the loopback: no name leads anywhere else."""
    resolver = names or Names({})
    public, trusted = pooled(lambda: PublicResolver(resolver)), pooled()
    clock = SystemClock()

    async def fetch(url: str) -> bytes:
        with closing(await downloader.fetch(url, clock.monotonic() + 20)) as held:
            return bytes(await held.read(0, held.size))

    try:
        with tempfile.TemporaryDirectory() as folder:
            downloader = GuardedDownloader(
                public, trusted, Hosts.of(origin, image_hosts), Shelf(Path(folder), budget), clock
            )
            yield fetch
    finally:
        await public.aclose()
        await trusted.aclose()
