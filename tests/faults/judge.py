"""What must hold after every run, however many faults there were, once things are quiet again.

The promises, by the names that are told where one is broken:

- I1: an errand is charged once at most, and given one picture.
- I2: at every moment, what 302 has charged is held or spent.
- I3: in the end, what is spent is what was charged, and what is held are the outcomes that stay unknown.
- I4: what was charged has its row, with its picture, which is there.
- I5: no place and no flight is left over.
- I6: every answer is a picture or an error of OpenAI's form.
- I7: no key and no prompt is seen outside.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import redis.asyncio
from sqlalchemy import Row, func, select

from gateway.adapters.engines import is_away
from gateway.adapters.tables import BUDGETS, GENERATIONS
from gateway.core.catalogue import MICRO
from tests.faults.load import CUT_OFF, Errand
from tests.faults.scene import CANARY, LEASE, Scene

_PATIENCE: Final = 10 * LEASE
_LOOKED_AT: Final = 3
_NOBODY: Final = "the gateway does not come back"


@dataclass
class Books:
    """What the ledger says, in micro-USD."""

    spent: int
    held: int
    rows: Sequence[Row[Any]]

    @property
    def unknown(self) -> list[Row[Any]]:
        """The rows of which nobody will ever know, unless 302's list of calls is read."""
        return [row for row in self.rows if row.state == "unknown"]


@dataclass
class Verdict:
    """What was found; `wrong` is empty if every promise was kept."""

    charges: int = 0
    double: int = 0
    lost: int = 0
    unknown: int = 0
    unseen: int = 0
    wrong: list[str] = field(default_factory=list)


def read_books(scene: Scene) -> Books:
    """The ledger as it is now."""
    with scene.engine.connect() as connection:
        days = BUDGETS.c.owner.like("key:%") & (func.length(BUDGETS.c.period) == len("2026-11-22"))
        spent, held = connection.execute(select(func.sum(BUDGETS.c.spent), func.sum(BUDGETS.c.held)).where(days)).one()
        return Books(int(spent or 0), int(held or 0), connection.execute(select(GENERATIONS)).all())


class Watch:
    """I2, all the time: what 302 has charged is held or spent."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.looks = 0
        self.short: list[str] = []

    async def run(self) -> None:
        """Look until cancelled; a database that is away cannot be looked at."""
        while True:
            with suppress(*CUT_OFF):
                await self._look()
            await asyncio.sleep(0.25)

    async def _look(self) -> None:
        # In this order: both only ever run ahead of what the other one knew.
        charged = await self._scene.charged()
        try:
            books = await asyncio.to_thread(read_books, self._scene)
        except Exception as error:
            if is_away(error):
                return
            raise
        self.looks += 1
        if books.spent + books.held < charged:
            self.short.append(f"I2: charged {charged}, but spent {books.spent} and held {books.held}")


async def judge(scene: Scene, errands: Sequence[Errand], calls: Sequence[dict[str, Any]]) -> Verdict:
    """Wait for quiet, then hold the run against the promises."""
    verdict = Verdict()
    books = await _quiet(scene, verdict)
    _judge_charges(errands, calls, books, verdict)
    _judge_money(books, calls, await scene.charged(), verdict)
    await _judge_pictures(books, verdict)
    _judge_answers(errands, verdict)
    await _judge_rest(scene, verdict)
    return verdict


async def _quiet(scene: Scene, verdict: Verdict) -> Books:
    """The ledger, when nothing is in flight any more and every bill that can be had was asked for."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        books = await asyncio.to_thread(read_books, scene)
        open_ = [row for row in books.rows if row.finished is None]
        billable = [row for row in books.unknown if row.request_id]
        if not open_ and not billable:
            return books
        if time.monotonic() > deadline:
            verdict.wrong.append(f"I3: {len(open_)} rows in flight, {len(billable)} without the bill they could have")
            verdict.wrong += [str(row._mapping) for row in (open_ + billable)[:3]]
            return books
        await asyncio.sleep(0.2)


def _judge_charges(errands: Sequence[Errand], calls: Sequence[dict[str, Any]], books: Books, verdict: Verdict) -> None:
    """I1: each errand was charged once at most."""
    charged = Counter(call["payload"]["prompt"] for call in calls if call["cost"])
    verdict.charges = charged.total()
    for errand in errands:
        if charged[errand.prompt] > 1:
            verdict.double += 1
            verdict.wrong.append(f"I1: {errand.kind} was charged {charged[errand.prompt]} times: {errand}")
            ids = {call["request_id"] for call in calls if call["payload"]["prompt"] == errand.prompt}
            fingerprints = {row.fingerprint for row in books.rows if row.request_id in ids}
            verdict.wrong += [str(row._mapping) for row in books.rows if row.fingerprint in fingerprints]


def _judge_money(books: Books, calls: Sequence[dict[str, Any]], charged: int, verdict: Verdict) -> None:
    """I3 and the first half of I4: spent is charged, held are the unknown, and no picture is without its row."""
    verdict.unknown = len(books.unknown)
    known = {id_ for row in books.rows for id_ in (row.request_id or "").split(",")}
    unseen: defaultdict[str, int] = defaultdict(int)
    for call in calls:
        if call["cost"] and call["request_id"] not in known:
            unseen[call["model"]] += 1
            verdict.unseen += round(call["cost"] * MICRO)
    nobodys = Counter(row.model for row in books.unknown)
    for model, count in unseen.items():
        if count > nobodys[model]:
            verdict.lost += count - nobodys[model]
            verdict.wrong.append(f"I4: {count} calls of {model} were charged that only {nobodys[model]} rows can be")
    if books.spent + verdict.unseen != charged:
        verdict.wrong.append(f"I3: spent {books.spent} and unseen {verdict.unseen}, but charged {charged}")
    if books.held != (held := sum(row.reserved for row in books.unknown)):
        verdict.wrong.append(f"I3: held {books.held}, but {held} of unknown rows")
    if books.spent != (actual := sum(row.actual or 0 for row in books.rows)):
        verdict.wrong.append(f"I3: spent {books.spent}, but {actual} in the rows")


async def _judge_pictures(books: Books, verdict: Verdict) -> None:
    """I4: what was paid has its picture's address, and the picture is there; unless 302's answer was lost."""
    urls = []
    for row in books.rows:
        if row.url is not None:
            urls.append(row.url)
        elif row.actual and row.error_code not in {"upstream_unknown", "upstream_timeout"}:
            verdict.lost += 1
            verdict.wrong.append(f"I4: paid without a picture: {row._mapping}")
    async with httpx.AsyncClient(trust_env=False) as client:
        for url in urls[-_LOOKED_AT:]:
            answer = await client.get(url)
            if answer.status_code != 200 or not answer.content.startswith(b"\x89PNG"):
                verdict.lost += 1
                verdict.wrong.append(f"I4: {url} leads to {answer.status_code}")


def _judge_answers(errands: Sequence[Errand], verdict: Verdict) -> None:
    """I6, and one picture an errand."""
    for errand in errands:
        if len(errand.urls) > 1:
            verdict.wrong.append(f"I1: {errand.kind} was given several pictures: {errand}")
        for told in errand.told:
            if told.status == 200:
                continue
            error = told.body.get("error", {})
            formed = set(error) == {"message", "type", "param", "code"} and set(told.body) == {"error"}
            named = told.headers.get("x-should-retry") in {"true", "false"} and told.headers.get("x-request-id")
            if not formed or not named or error["code"] == "internal_error":
                verdict.wrong.append(f"I6: {told}")
            if CANARY in str(told.body):
                verdict.wrong.append(f"I7: {told}")


async def _judge_rest(scene: Scene, verdict: Verdict) -> None:
    """I5, nothing is held of places and flights; I7, nothing was said that must not be."""
    deadline = time.monotonic() + _PATIENCE
    async with httpx.AsyncClient(trust_env=False, base_url=scene.url, timeout=30) as client:
        while (left := await _left(scene, client)) and time.monotonic() < deadline:  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(0.2)
        verdict.wrong += left
        page = "" if left == [_NOBODY] else (await client.get("/metrics")).text
    assert scene.program
    said = [*scene.said, *scene.program.out.all, *scene.program.err.all, page]
    verdict.wrong += [f"I7: {line}" for line in said if CANARY in line]
    verdict.wrong += [f"a fault was logged: {line}" for line in said if _is_fault(line)]


def _is_fault(line: str) -> bool:
    return "Traceback" in line or ('"level":"error"' in line and '"event":"request"' not in line)


async def _left(scene: Scene, client: httpx.AsyncClient) -> list[str]:
    left = []
    try:
        page = (await client.get("/metrics")).text
    except CUT_OFF:  # all workers were ended at once, and none is replaced yet
        return [_NOBODY]
    flights = [line for line in page.splitlines() if line.startswith("gateway_flights_in_progress ")]
    if [float(line.split()[-1]) for line in flights] != [0.0]:
        left.append(f"I5: {flights}")
    store = redis.asyncio.Redis(unix_socket_path=str(scene.folder / "valkey.sock"))
    with suppress(redis.RedisError):
        now = (await store.time())[0]
        for name in await store.keys("gw:*:limit:concurrency:*"):
            if places := await store.zcount(name, now * 1000, "+inf"):
                left += [f"I5: {places} places of {name!r} are taken"]
    await store.aclose()
    return left
