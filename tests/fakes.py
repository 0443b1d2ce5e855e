"""Small, honest stand-ins for the ports: they do what the real ones do, in memory, and tell what they were asked."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.core.catalogue import Model
from gateway.core.days import day_of
from gateway.core.entry import Entry, encode, read_entry
from gateway.core.errors import GatewayError, Kind
from gateway.core.jobs import Ended, Job, JobState, Receipt, Wanted
from gateway.core.keys import Caller
from gateway.core.ledger import Draft, Ending, Generation, Moment, State, earlier
from gateway.core.limits import Admission, OnAdmission, Verdict, limits_of, refused
from gateway.core.outcome import Outcome
from gateway.core.picture import media_type, size_of
from gateway.core.repeats import Repeat, reused
from gateway.core.windows import Windows
from gateway.ports import DatabaseUnavailableError, Drawn, EarlierError, MediaInfo, Progress


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
    away: bool = False
    entries: dict[str, Entry] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)

    def name(self, fingerprint: str) -> str:
        return fingerprint

    def read(self, fingerprint: str, value: bytes | None) -> Entry | None:
        return None if value is None else read_entry(value, fingerprint, self.clock.now())

    async def recall(self, fingerprint: str) -> Entry | None:
        self.record("recall")
        entry = None if self.away else self.entries.get(fingerprint)
        return entry if entry is not None and entry.expires > self.clock.now() else None

    def keep(self, fingerprint: str, url: str, ttl: int, *, replace: bool = True) -> Awaitable[bool]:
        is_kept: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        is_kept.set_result(not self.away and ttl > 0)
        if ttl > 0:
            self.record("keep")
        if is_kept.result() and (replace or fingerprint not in self.entries):
            entry = Entry(fingerprint, url, self.clock.now() + ttl)
            self.entries[fingerprint], self.kept[fingerprint] = entry, encode(entry)
        return is_kept


@dataclass
class MemoryLedger:
    """The ledger, in a list; money as it is held and spent."""

    clock: FakeClock
    record: Recorder = field(default_factory=Recorder)
    unknown_hold: float = 60.0
    away: bool = False
    unbroken: bool = True
    gate: asyncio.Event | None = None
    budget: int | None = None
    held: int = 0
    spent: int = 0
    rows: list[Generation] = field(default_factory=list)

    async def reserve(self, draft: Draft, upstream_key: str) -> Generation:
        self._ask("reserve")
        if self.gate is not None:
            await self.gate.wait()
        newest = self.rows[::-1]
        rows = [row for row in newest if row.fingerprint == draft.fingerprint]
        if draft.attempt is not None:
            rows = [*(row for row in newest if row.attempt == draft.attempt), *rows]
        if (before := earlier(draft, rows, self._moment(), self.unknown_hold)) is not None:
            draft.bill.hold(draft.id, draft.reserved)
            raise EarlierError(before)
        if draft.refusal is not None:
            raise draft.refusal
        if self.budget is not None and self.held + self.spent + draft.bill.open(draft.id) > self.budget:
            raise GatewayError(Kind.INSUFFICIENT_QUOTA, "The budget is used up.")
        draft.bill.hold(draft.id, draft.reserved)
        self.held += draft.reserved
        fields: dict[str, Any] = (
            dict.fromkeys(Generation.__struct_fields__)
            | {
                name: getattr(draft, name)
                for name in ("id", "flight", "fingerprint", "attempt", "model", "reserved", "ttl")
            }
            | {"key": draft.caller.key, "team": draft.caller.team, "state": State.SENT, "version": 1, "owner": "me"}
            | {"day": day_of(self.clock.now()), "created": self.clock.now(), "upstream_key": upstream_key}
        )
        row = Generation(**fields)
        self.rows.append(row)
        return row

    async def cancel(self, draft: Draft) -> None:
        self._ask("cancel")

    async def move(self, row: Generation, upstream_key: str) -> Generation | None:
        return self._replace(row, upstream_key=upstream_key)

    async def accept(self, row: Generation, request_id: str, task_id: str) -> Generation | None:
        self._ask("accept")
        return self._replace(row, state=State.ACCEPTED, task_id=task_id, request_id=request_id)

    async def end(self, row: Generation, ending: Ending) -> bool:
        self._ask(f"end {ending.state}")
        if ending.actual is not None:
            self.held -= row.reserved
            self.spent += ending.actual
        error = ending.error
        [kept] = [one.url for one in self.rows if one.id == row.id]
        url = ending.url and (kept or ending.url)
        ended = {"state": ending.state, "actual": ending.actual, "url": url, "finished": self.clock.now()}
        if error is not None:
            ended |= {"error_code": error.kind.row.code, "error_message": error.message}
        return self._replace(row, **ended) is not None

    async def keep(self, row: Generation, url: str) -> None:
        self._replace(row, url=url)

    async def correct(self, row: Generation, actual: int) -> None:
        self.record(f"correct {actual}")

    async def find(self, ids: Sequence[str]) -> list[Generation]:
        return [row for row in self.rows if row.id in ids]

    async def beat(self) -> bool:
        self._ask("beat")
        return self.unbroken

    async def leave(self) -> None:
        self._ask("leave")

    async def orphans(self, *, lapsed: bool) -> list[Generation]:
        return [row for row in self.rows if row.finished is None and row.owner != "me" and lapsed]

    async def adopt(self, row: Generation) -> Generation | None:
        return self._replace(row, owner="me")

    async def unsettled(self, *, confirm: bool, since: float) -> list[Generation]:
        return [row for row in self.rows if row.state is State.UNKNOWN and row.request_id]

    def _moment(self) -> Moment:
        return Moment(self.clock.now(), self.clock.monotonic())

    def _ask(self, verb: str) -> None:
        self.record(verb)
        if self.away:
            raise DatabaseUnavailableError

    def _replace(self, row: Generation, **values: object) -> Generation | None:
        found = next((index for index, one in enumerate(self.rows) if one.id == row.id), None)
        if found is None:
            return None
        self.rows[found] = msgspec.structs.replace(self.rows[found], version=row.version + 1, **values)
        return self.rows[found]


@dataclass
class MemoryRepeats:
    """Idempotency keys, in a dict."""

    names: dict[tuple[str, str], tuple[bytes, Repeat | None]] = field(default_factory=dict)

    async def claim(self, key: str, name: str, digest: bytes) -> Repeat | None:
        first, repeat = self.names.setdefault((key, name), (digest, None))
        if first != digest:
            raise reused()
        return repeat

    async def keep(self, key: str, name: str, repeat: Repeat) -> None:
        if (key, name) in self.names:
            self.names[key, name] = self.names[key, name][0], repeat

    async def forget(self) -> None:
        return None


@dataclass
class MemoryJobs:
    """Jobs, in a dict; those whose owner is not `me` are orphans."""

    clock: FakeClock
    away: bool = False
    rows: dict[str, Job] = field(default_factory=dict)

    async def add(self, id_: str, key: str, wanted: Wanted, webhook: str | None) -> tuple[Job, bool]:
        self._ask()
        job = Job(id_, key, JobState.QUEUED, 1, "me", webhook, 0, None, self.clock.now(), None, wanted=wanted)
        return self.rows.setdefault(id_, job), self.rows[id_] is job

    async def remove(self, id_: str) -> None:
        self._ask()
        self.rows.pop(id_, None)

    async def find(self, id_: str) -> Job | None:
        self._ask()
        return self.rows.get(id_)

    async def begin(self, job: Job) -> None:
        self._replace(job, state=JobState.RUNNING)

    async def end(self, job: Job, ended: Ended) -> Job | None:
        now = self.clock.now()
        told = None if job.webhook else now
        return self._replace(job, state=JobState.DONE, version=job.version + 1, ended=ended, finished=now, told=told)

    async def orphans(self) -> list[Job]:
        self._ask()
        return [job for job in self.rows.values() if job.owner != "me" and job.told is None]

    async def adopt(self, job: Job) -> Job | None:
        return self._replace(job, owner="me", version=job.version + 1)

    async def tried(self, job: Job, tries: int, *, over: bool) -> bool:
        return self._replace(job, tries=tries, told=self.clock.now() if over else None) is not None

    async def forget(self) -> None:
        self._ask()

    def _ask(self) -> None:
        if self.away:
            raise DatabaseUnavailableError

    def _replace(self, job: Job, **values: object) -> Job | None:
        self._ask()
        if self.rows[job.id].version != job.version:
            return None
        self.rows[job.id] = msgspec.structs.replace(self.rows[job.id], **values)
        return self.rows[job.id]


@dataclass
class FakeWebhooks:
    """Webhooks that take everything, unless they are told what to answer first."""

    receipts: list[Receipt] = field(default_factory=list)
    posted: list[tuple[str, str, bytes]] = field(default_factory=list)

    async def post(self, url: str, id_: str, body: bytes) -> Receipt:
        self.posted.append((url, id_, body))
        return self.receipts.pop(0) if self.receipts else Receipt.TAKEN


@dataclass
class FakeWakeups:
    """Words to other workers; nobody is there."""

    told: list[str] = field(default_factory=list)

    def tell(self, name: str) -> None:
        self.told.append(name)

    async def wait(self, name: str, seconds: float) -> None:
        await asyncio.sleep(0)


@dataclass
class MemoryLimiter:
    """The limiter, on one worker's own windows; `kept` are the values that look-ups find."""

    clock: FakeClock
    record: Recorder = field(default_factory=Recorder)
    windows: Windows = field(default_factory=Windows)
    kept: dict[str, bytes] = field(default_factory=dict)
    kept_requests: int = 0
    cannot_look: bool = False

    async def admit(self, caller: Caller, request_id: str, wanted: int, lookups: Sequence[str] | None) -> Admission:
        self.record("admit")
        found = None if lookups is None or self.cannot_look else [self.kept.get(name) for name in lookups]
        if found is not None:
            wanted = found.count(None)
        verdict = self._verdict(caller, request_id, wanted)
        if verdict.refusal is not None:
            raise refused(verdict.refusal, verdict.standings)
        return Admission(verdict.standings, found, verdict.leased)

    def kept_admission(self, caller: Caller, lookups: Sequence[str]) -> Callable[[OnAdmission], None]:
        return lambda tell: self._admit_kept(caller, lookups, tell)

    def _admit_kept(self, caller: Caller, lookups: Sequence[str], tell: OnAdmission) -> None:
        self.record("admit kept")
        found = [self.kept.get(name) for name in lookups]
        if None in found:
            tell(None)
            return
        self.kept_requests += 1
        verdict = self._verdict(caller, f"kept {self.kept_requests}", 0)
        tell(Admission(verdict.standings, found) if verdict.refusal is None else None)

    async def release(self, request_id: str) -> None:
        self.release_soon(request_id)

    def release_soon(self, request_id: str) -> None:
        self.record("release")
        self.windows.release(request_id)

    async def give_back(self, caller: Caller, request_id: str, images: int) -> None:
        self.record(f"give back {images}")
        names = [f"{getattr(caller, limit.owner)} {limit.name}" for limit in limits_of(caller)]
        self.windows.give_back(names, request_id, images)

    def _verdict(self, caller: Caller, request_id: str, wanted: int) -> Verdict:
        limits = [(f"{getattr(caller, limit.owner)} {limit.name}", limit) for limit in limits_of(caller)]
        return self.windows.admit(limits, wanted, request_id, self.clock.monotonic())


@dataclass
class FakeUpstream:
    """302.AI: draws `https://pictures.example/1.png` and so on, or fails as it is told; waits where it is told."""

    record: Recorder = field(default_factory=Recorder)
    failure: GatewayError | Exception | None = None
    gate: asyncio.Event | None = None
    bodies: list[bytes] = field(default_factory=list)
    bills: dict[str, int] = field(default_factory=dict)

    async def send(self, body: bytes, model: Model, *, known_model: bool, progress: Progress) -> Drawn:
        await progress.sending("k_fake")
        self.bodies.append(body)
        number = len(self.bodies)
        self.record(f"send {model.id}")
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        await progress.accepted("k_fake", f"302-{number}", "")
        return Drawn(f"https://pictures.example/{number}.png", f"302-{number}", "k_fake")

    async def resume(self, task_id: str, upstream_key_id: str, model: Model) -> Drawn:
        self.record(f"resume {task_id}")
        if self.failure is not None:
            raise self.failure
        return Drawn(f"https://pictures.example/{task_id}.png", f"302-{task_id}", upstream_key_id, task_id)

    async def bill(self, request_id: str, upstream_key_id: str) -> int | None:
        self.record(f"bill {request_id}")
        if self.gate is not None:
            await self.gate.wait()
        return self.bills.get(request_id)


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
class MemoryMedia:
    """Our own store of pictures, in a dict."""

    pictures: dict[str, bytes] = field(default_factory=dict)

    async def keep(self, data: bytes, _media_type: str) -> str:
        name = f"{len(self.pictures):032x}.png"
        self.pictures[name] = data
        return name

    async def find(self, name: str) -> MediaInfo | None:
        found = self.pictures.get(name)
        return None if found is None else MediaInfo(len(found), "image/png", name, 0.0)

    async def read(self, name: str, start: int, end: int) -> bytes:
        return self.pictures[name][start:end]

    async def hold(self, name: str) -> FakeHeld:
        return FakeHeld(self.pictures[name])


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
