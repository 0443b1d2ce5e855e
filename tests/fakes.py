"""Small, honest stand-ins for the ports: they do what the real ones do, in memory, and tell what they were asked."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway.core.catalogue import Model
from gateway.core.entry import Entry
from gateway.core.errors import GatewayError
from gateway.core.keys import Caller
from gateway.core.outcome import Outcome
from gateway.core.picture import media_type, size_of
from gateway.ports import Drawn


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now
        self._monotonic = 1_000.0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._monotonic += seconds


@dataclass
class Recorder:
    """What was asked of the world, in order."""

    verbs: list[str] = field(default_factory=list)

    def __call__(self, verb: str) -> None:
        self.verbs.append(verb)


@dataclass
class MemoryCache:
    """The cache, in a dict."""

    clock: FakeClock
    record: Recorder = field(default_factory=Recorder)
    unknown_hold: int = 60
    away: bool = False
    entries: dict[str, Entry] = field(default_factory=dict)
    held: dict[tuple[str, str], tuple[float, GatewayError]] = field(default_factory=dict)

    async def recall(self, fingerprint: str, caller: Caller) -> Entry | GatewayError | None:
        self.record("recall")
        until, error = self.held.get((fingerprint, caller.key), (0.0, None))
        if error is not None and until > self.clock.monotonic():
            return error.copy()
        entry = None if self.away else self.entries.get(fingerprint)
        return entry if entry is not None and entry.expires > self.clock.now() else None

    async def keep(self, fingerprint: str, url: str, ttl: int) -> bool:
        self.record("keep")
        if self.away or ttl <= 0:
            return False
        self.entries[fingerprint] = Entry(fingerprint, url, self.clock.now() + ttl)
        return True

    async def hold(self, fingerprint: str, caller: Caller, error: GatewayError) -> None:
        self.record(f"hold {error.kind.row.code}")
        if self.unknown_hold > 0:
            self.held[fingerprint, caller.key] = (self.clock.monotonic() + self.unknown_hold, error)


@dataclass
class FakeUpstream:
    """302.AI: draws `https://pictures.example/1.png` and so on, or fails as it is told; waits where it is told."""

    record: Recorder = field(default_factory=Recorder)
    failure: GatewayError | Exception | None = None
    gate: asyncio.Event | None = None
    bodies: list[bytes] = field(default_factory=list)

    async def send(self, body: bytes, model: Model, *, known_model: bool) -> Drawn:
        self.bodies.append(body)
        number = len(self.bodies)
        self.record(f"send {model.id}")
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return Drawn(f"https://pictures.example/{number}.png", f"302-{number}")


@dataclass
class FakeHeld:
    """A picture's bytes, held in memory; told apart by what they are recognised as."""

    data: bytes
    closed: bool = False

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def media_type(self) -> str | None:
        return media_type(self.data)

    @property
    def dimensions(self) -> tuple[int, int] | None:
        return size_of(self.data)

    async def read(self, start: int, end: int) -> bytes:
        return self.data[start:end]

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeDownloader:
    """The fetcher; the bytes are the URL's own, unless others are given.

    It fails always, or only for URLs with a certain text in them; what does not fail waits where it is told.
    """

    record: Recorder = field(default_factory=Recorder)
    failure: GatewayError | None = None
    failing: str = ""
    gate: asyncio.Event | None = None
    held: list[FakeHeld] = field(default_factory=list)
    data: bytes = b""

    async def fetch(self, url: str, deadline: float) -> FakeHeld:
        self.record(f"fetch {url}")
        if self.failure is not None and self.failing in url:
            raise self.failure
        if self.gate is not None:
            await self.gate.wait()
        self.held.append(FakeHeld(self.data or url.encode()))
        return self.held[-1]


@dataclass
class FakeObserver:
    """What metrics and log were told."""

    record: Recorder = field(default_factory=Recorder)
    outcomes: list[Outcome] = field(default_factory=list)
    in_flight: int = 0
    faults: list[BaseException] = field(default_factory=list)

    def request(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def upstream(self, model: str, code: str, seconds: float) -> None:
        self.record(f"upstream {code}")

    def paid(self, caller: Caller, model: str, micro_usd: int) -> None:
        self.record(f"paid {micro_usd}")

    def flights(self, change: int) -> None:
        self.in_flight += change

    def dependency_error(self, dependency: str) -> None:
        self.record(f"{dependency} failed")

    def fault(self, where: str, error: BaseException) -> None:
        self.faults.append(error)
        self.record(f"fault {where}")


def reading(body: bytes, record: Recorder | None = None) -> Callable[[], Awaitable[bytes]]:
    """How the pipeline reads a body."""

    async def read() -> bytes:
        if record is not None:
            record("read")
        return body

    return read


async def until(condition: Callable[[], bool], within: float = 60.0) -> None:
    """Let everything else run until a condition holds."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - what is waited for knows of no event
            await asyncio.sleep(0.001)
