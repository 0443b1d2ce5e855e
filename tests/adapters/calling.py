"""How tests have 302 asked: an upstream on a pool of keys, and a diary of what it told while it was at it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from gateway.adapters.upstream import Account, KeyPool, Polling, Upstream302, UpstreamOptions, Wire
from gateway.core.catalogue import Model
from gateway.core.pool import public_id
from gateway.core.shapes import Free
from gateway.ports import Clock, Store, StoreUnavailableError
from tests.fakes import FakeClock

MODEL = Model("dall-e-3-t2i", "free", Free(), "none", 40_000)
QUICK = Polling(first=0.01, longest=0.02, back_off=0.01, longest_back_off=0.02)


class NoProgress:
    """Writes nothing down."""

    async def sending(self, upstream_key_id: str) -> None:
        return None

    async def accepted(self, upstream_key_id: str, request_id: str, task_id: str) -> None:
        return None


class NoStore:
    """Redis, away."""

    async def execute(self, *command: str | bytes | float) -> object:
        raise StoreUnavailableError

    def start(self, *command: str | bytes | float) -> asyncio.Future[Any]:
        raise StoreUnavailableError

    async def look_up(self, *keys: str) -> list[bytes | None]:
        raise StoreUnavailableError

    def post(self, *command: str | bytes | float) -> None:
        return None

    async def run_script(self, source: str, keys: Sequence[str], *arguments: str | bytes | float) -> object:
        raise StoreUnavailableError


@dataclass
class Diary:
    """What the upstream told, in order; `failing` raises instead."""

    told: list[tuple[str, ...]] = field(default_factory=list)
    failing: dict[str, Exception] = field(default_factory=dict)

    async def sending(self, upstream_key_id: str) -> None:
        self._note("sending", upstream_key_id)

    async def accepted(self, upstream_key_id: str, request_id: str, task_id: str) -> None:
        self._note("accepted", upstream_key_id, request_id, task_id)

    def _note(self, *what: str) -> None:
        self.told.append(what)
        if what[0] in self.failing:
            raise self.failing[what[0]]

    @property
    def keys(self) -> list[str]:
        """The keys that something was sent on."""
        return [entry[1] for entry in self.told if entry[0] == "sending"]


@dataclass
class Line:
    """An upstream and what it stands on."""

    upstream: Upstream302
    keys: KeyPool
    account: Account
    clock: Clock
    diary: Diary = field(default_factory=Diary)

    def states(self) -> dict[str, str]:
        """Each key's public id and why it is out, or ok."""
        return {status.id: str(status.cause or status.state) for status in self.keys.snapshot()}


def line(
    transport: httpx.AsyncBaseTransport,
    url: str,
    keys: Sequence[str] = ("sk-one",),
    options: UpstreamOptions | None = None,
    clock: Clock | None = None,
    store: Store | None = None,
) -> Line:
    clock = clock or FakeClock()
    pool = KeyPool(keys, store or NoStore(), clock)
    wire = Wire(transport, url)
    account = Account(wire, pool)
    upstream = Upstream302(wire, pool, account, options or UpstreamOptions(timeout=60, concurrency=10, polling=QUICK))
    return Line(upstream, pool, account, clock)


def ids(*secrets: str) -> list[str]:
    return [public_id(secret) for secret in secrets]
