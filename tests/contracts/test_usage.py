"""What is used, on both databases: everything counted is found again, whoever adds to the same row."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.adapters.database import Database
from gateway.adapters.rows import add_usage
from gateway.adapters.usage import UsageCounter, UsageReport
from gateway.adapters.writer import Transaction
from gateway.core.errors import GatewayError
from gateway.core.outcome import Outcome
from gateway.core.usage import COUNTERS, Asked, as_csv, read_asked
from gateway.ports import DatabaseUnavailableError
from tests.fakes import FakeClock


def outcome(
    *,
    states: tuple[str, ...] = (),
    code: str = "ok",
    endpoint: str = "generations",
    team: str = "design",
    key: str = "key_1",
    model: str = "m",
) -> Outcome:
    told = Outcome("req_1", "POST", endpoint, team=team, key=key, model=model, code=code, micro_usd=40_000)
    told.states = states
    return told


def sums(**more: float) -> dict[str, float]:
    return dict.fromkeys(COUNTERS, 0) | more


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def counter(database: Database, clock: FakeClock) -> UsageCounter:
    return UsageCounter(database, clock)


@pytest.fixture
def report(database: Database) -> UsageReport:
    return UsageReport(database)


async def test_requests_are_counted_by_how_their_pictures_were_come_by(
    counter: UsageCounter, report: UsageReport
) -> None:
    for states, code in (
        (("hit", "hit", "joined"), "ok"),
        (("miss",), "ok"),
        ((), "model_not_allowed"),
        (("bypass",), "upstream_unknown"),
    ):
        counter.request(outcome(states=states, code=code))
    for nothing in (outcome(endpoint="models"), outcome(endpoint="plan"), outcome(team="", code="invalid_api_key")):
        counter.request(nothing)
    await counter.flush()

    assert await report.usage(Asked(by=())) == [sums(requests=4, cached=2, joined=1, failed=2, cost=0, saved=0.12)]


async def test_flushing_adds_and_nothing_is_counted_twice(counter: UsageCounter, report: UsageReport) -> None:
    for _ in range(3):
        counter.request(outcome())
        await counter.flush()
        await counter.flush()

    assert await report.usage(Asked(by=("team",))) == [{"team": "design"} | sums(requests=3)]


async def test_a_day_is_one_of_utc(counter: UsageCounter, report: UsageReport, clock: FakeClock) -> None:
    counter.request(outcome())
    clock.advance(16 * 3600 - 1)
    counter.request(outcome())
    clock.advance(1)
    counter.request(outcome())
    await counter.flush()

    rows = await report.usage(Asked(by=("day",)))
    assert [(row["day"], row["requests"]) for row in rows] == [("2027-01-15", 2), ("2027-01-16", 1)]


async def test_workers_and_the_ledger_add_to_the_same_row(
    database: Database, report: UsageReport, clock: FakeClock
) -> None:
    workers = [UsageCounter(database, clock) for _ in range(5)]

    def settle(transaction: Transaction) -> None:
        row = {"day": "2027-01-15", "team": "design", "key": "key_1", "model": "m", "images": 1, "cost": 40_000}
        add_usage(transaction, [row])

    for worker in workers:
        for _ in range(10):
            worker.request(outcome(states=("hit",)))
    await asyncio.gather(*(worker.flush() for worker in workers), *(database.transact(settle) for _ in range(10)))

    [row] = await report.usage(Asked())
    assert row == {"day": "2027-01-15", "team": "design", "key": "key_1", "model": "m"} | sums(
        requests=50, cached=50, images=10, cost=0.4, saved=2.0
    )


async def test_rows_come_out_by_what_is_asked(counter: UsageCounter, report: UsageReport) -> None:
    for number in range(1200):
        counter.request(outcome(team=f"t{number % 3}", key=f"k{number}", model=f"m{number % 2}"))
    await counter.flush()

    by_team = await report.usage(Asked(by=("team",)))
    assert [(row["team"], row["requests"]) for row in by_team] == [("t0", 400), ("t1", 400), ("t2", 400)]
    by_model = await report.usage(Asked(by=("model", "team"), team="t1"))
    assert [(row["model"], row["team"], row["requests"]) for row in by_model] == [("m0", "t1", 200), ("m1", "t1", 200)]
    assert await report.usage(Asked(since="2027-01-16")) == []
    assert await report.usage(Asked(until="2027-01-15")) == []
    assert len(await report.usage(Asked(since="2027-01-15", until="2027-01-16"))) == 1200
    assert [row["requests"] for row in await report.usage(Asked(by=(), key="k7", model="m1"))] == [1]
    assert await report.usage(Asked(by=(), team="nobody")) == [sums()]


async def test_what_cannot_be_told_now_is_told_later(database: Database, report: UsageReport, clock: FakeClock) -> None:
    away = Database("postgresql://nobody@127.0.0.1:1/none", lambda: None)
    counter = UsageCounter(away, clock)
    counter.request(outcome())
    with pytest.raises(DatabaseUnavailableError):
        await counter.flush()
    counter.request(outcome())
    counter._database = database  # type: ignore[misc]
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        flushing = group.create_task(counter.keep_flushing(every=0.01))
        while await report.usage(Asked(by=())) != [sums(requests=2)]:  # noqa: ASYNC110 - it is in the database
            await asyncio.sleep(0.01)
        flushing.cancel()
    await away.aclose()


async def test_of_many_rows_those_that_could_not_be_told_are_told_later(
    counter: UsageCounter, database: Database, report: UsageReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in reversed(range(600)):
        counter.request(outcome(key=f"k{number:03}"))
    transact, told = database.transact, 0

    async def once(work: Callable[[Transaction], None]) -> None:
        nonlocal told
        told += 1
        if told == 2:
            raise DatabaseUnavailableError
        await transact(work)

    monkeypatch.setattr(database, "transact", once)
    with pytest.raises(DatabaseUnavailableError):
        await counter.flush()
    await counter.flush()

    rows = await report.usage(Asked(by=("key",)))
    assert [row["requests"] for row in rows] == [1] * 600


def test_a_query_is_read() -> None:
    assert read_asked({}) == Asked()
    asked = read_asked({"by": "team, day", "since": "2027-01-01", "until": "", "key": "k", "format": "csv"})
    assert asked == Asked(("team", "day"), key="k", since="2027-01-01", format="csv")


@pytest.mark.parametrize(
    ("name", "value"),
    [("by", "x"), ("by", "day,day"), ("by", ","), ("since", "today"), ("until", "2027-02-30"), ("format", "xml")],
)
def test_a_wrong_query_is_named(name: str, value: str) -> None:
    with pytest.raises(GatewayError) as refusal:
        read_asked({name: value})

    assert refusal.value.param == name


def test_csv_has_a_head_six_decimals_and_no_formulas() -> None:
    row = {"team": '=cmd|"x"', "model": "a,b"} | sums(requests=1, cost=0.04, saved=12.345678)

    assert as_csv([row], ("team", "model")).splitlines() == [
        "team,model,requests,images,cached,joined,failed,cost,saved",
        '"\'=cmd|""x""","a,b",1,0,0,0,0,0.040000,12.345678',
    ]
