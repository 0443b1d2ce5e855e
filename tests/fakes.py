"""Small, honest stand-ins for the ports: they do what the real ones do, in memory, and tell what they were asked."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from gateway.core.catalogue import Model
from gateway.core.entry import Entry
from gateway.core.errors import GatewayError
from gateway.core.keys import Caller
from gateway.core.limits import Admission, limits_of, refused
from gateway.core.outcome import Outcome
from gateway.core.windows import Windows
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
class MemoryLimiter:
    """The limiter, on one worker's own windows; `kept` are the values that look-ups find."""

    clock: FakeClock
    record: Recorder = field(default_factory=Recorder)
    windows: Windows = field(default_factory=Windows)
    kept: dict[str, bytes] = field(default_factory=dict)

    async def admit(
        self, caller: Caller, request_id: str, wanted: int, lookups: Sequence[tuple[str, str]] | None
    ) -> Admission:
        self.record("admit")
        found = None if lookups is None else [self.kept.get(key) for pair in lookups for key in pair]
        if found is not None:
            wanted = sum(pair == (None, None) for pair in zip(found[::2], found[1::2], strict=True))
        limits = [(f"{getattr(caller, limit.owner)} {limit.name}", limit) for limit in limits_of(caller)]
        verdict = self.windows.admit(limits, wanted, request_id, self.clock.monotonic())
        if verdict.refusal is not None:
            raise refused(verdict.refusal, verdict.standings)
        return Admission(request_id, verdict.standings, found, verdict.leased)

    async def release(self, caller: Caller, request_id: str) -> None:
        self.record("release")
        self.windows.release(request_id)

    async def give_back(self, caller: Caller, request_id: str, images: int) -> None:
        self.record(f"give back {images}")
        names = [f"{getattr(caller, limit.owner)} {limit.name}" for limit in limits_of(caller)]
        self.windows.give_back(names, request_id, images)


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
class FakeDownloader:
    """The fetcher; the bytes are the URL's own."""

    record: Recorder = field(default_factory=Recorder)
    failure: GatewayError | None = None

    async def fetch(self, url: str, deadline: float) -> bytes:
        self.record(f"fetch {url}")
        if self.failure is not None:
            raise self.failure
        return url.encode()


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

    def limited(self, team: str, limit: str) -> None:
        self.record(f"limited {team} {limit}")

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
