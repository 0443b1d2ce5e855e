"""What a ledger promises, on each kind of database."""

import asyncio

import msgspec
import pytest
from sqlalchemy import Connection, text

from gateway.adapters.database import Database
from gateway.adapters.engines import open_engine
from gateway.adapters.ledger import SqlLedger
from gateway.adapters.tables import BUDGETS, GENERATIONS, USAGE, WORKERS
from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import Caller, Terms
from gateway.core.ledger import Bill, Draft, Ending, Generation, State
from gateway.ports import DatabaseUnavailableError, EarlierError
from tests.fakes import FakeClock

CALLER = Caller("key_1", "team")
PRICE = 40_000
URL = "https://pictures.example/1.png"
OURS = "media:0123456789abcdef0123456789abcdef.png"
LOST = GatewayError(Kind.UPSTREAM_UNKNOWN, "lost")


@pytest.fixture
def ledger(database: Database) -> SqlLedger:
    return SqlLedger(database, FakeClock(), "worker-1", unknown_hold=60)


@pytest.fixture
def other(database: Database) -> SqlLedger:
    return SqlLedger(database, FakeClock(), "worker-2", unknown_hold=60)


def draft(name: str = "1", **fields: object) -> Draft:
    bill = Bill()
    bill.want(PRICE)
    return msgspec.structs.replace(Draft(name, f"f{name}", f"f{name}", CALLER, "flux", PRICE, 3600, bill), **fields)


async def money(database: Database) -> set[tuple[int, int]]:
    """(held, spent) of all budgets."""
    rows = await database.read(lambda connection: [*connection.execute(BUDGETS.select())])
    return {(row.held, row.spent) for row in rows}


async def test_what_is_reserved_is_held_and_what_succeeds_is_spent(ledger: SqlLedger, database: Database) -> None:
    row = await ledger.reserve(draft(), "k_1")
    held = await money(database)

    assert await ledger.end(row, Ending(State.SUCCEEDED, 39_000, URL, request_id="r1")) is True
    [found] = await ledger.find(["1"])

    assert (held, await money(database)) == ({(PRICE, 0)}, {(0, 39_000)})
    assert (found.state, found.url, found.actual, found.request_id) == (State.SUCCEEDED, URL, 39_000, "r1")
    [usage] = await database.read(lambda connection: [*connection.execute(USAGE.select())])
    assert (usage.team, usage.key, usage.model, usage.images, usage.cost) == ("team", "key_1", "flux", 1, 39_000)


async def test_what_failed_unbilled_is_let_go_and_may_be_paid_again(ledger: SqlLedger, database: Database) -> None:
    row = await ledger.reserve(draft(), "k_1")
    await ledger.end(row, Ending(State.FAILED, 0, error=GatewayError(Kind.CONTENT_POLICY, "no")))

    assert await money(database) == {(0, 0)}
    await ledger.reserve(draft("2", flight="f1", fingerprint="f1"), "k_1")


async def test_an_unknown_outcome_keeps_its_hold_until_its_bill_comes(ledger: SqlLedger, database: Database) -> None:
    row = await ledger.reserve(draft(), "k_1")
    await ledger.end(row, Ending(State.UNKNOWN, None, error=LOST, request_id="r1"))
    held = await money(database)
    [unknown] = await ledger.unsettled(confirm=False, since=0)

    await ledger.correct(unknown, 41_000)
    await ledger.correct(unknown, 41_000)

    assert (held, await money(database)) == ({(PRICE, 0)}, {(0, 41_000)})
    assert await ledger.unsettled(confirm=True, since=0) == []


@pytest.mark.parametrize("is_over", [True, False])
async def test_what_began_long_ago_and_still_counts_is_not_paid_again(database: Database, is_over: bool) -> None:
    ledger = SqlLedger(database, FakeClock(), "worker-1", unknown_hold=3600, longest=3600)
    row = await ledger.reserve(draft(), "k_1")
    if is_over:
        await ledger.end(row, Ending(State.UNKNOWN, None, error=LOST, request_id="r1"))
    earlier = {"created": GENERATIONS.c.created - 3000, "finished": GENERATIONS.c.finished - 3000}
    await database.write(lambda connection: connection.execute(GENERATIONS.update().values(earlier)))

    with pytest.raises(EarlierError) as found:
        await ledger.reserve(draft("2", flight="f1", fingerprint="f1"), "k_1")

    assert found.value.row.id == "1"


async def test_an_unknown_outcome_is_told_again_though_its_bill_has_come(ledger: SqlLedger) -> None:
    """What was billed without a picture is not paid again at once, whoever asks with that key and however."""
    row = await ledger.reserve(draft(), "k_1")
    await ledger.end(row, Ending(State.UNKNOWN, None, error=LOST, request_id="r1"))
    [unknown] = await ledger.unsettled(confirm=False, since=0)
    await ledger.correct(unknown, 41_000)

    with pytest.raises(EarlierError) as found:
        await ledger.reserve(draft("2", flight="f1", fingerprint="f1"), "k_1")

    assert found.value.row.error.kind is Kind.UPSTREAM_UNKNOWN


async def test_an_ending_that_is_told_twice_is_settled_once(ledger: SqlLedger, database: Database) -> None:
    row = await ledger.reserve(draft(), "k_1")
    ending = Ending(State.SUCCEEDED, PRICE, URL)

    assert [await ledger.end(row, ending), await ledger.end(row, ending)] == [True, False]
    assert await money(database) == {(0, PRICE)}


async def test_an_ending_that_is_told_twice_takes_none_of_its_group_with_it(
    ledger: SqlLedger, database: Database
) -> None:
    rows = [await ledger.reserve(draft(str(number)), "k_1") for number in range(3)]
    ending = Ending(State.SUCCEEDED, PRICE, URL)

    told = await asyncio.gather(*(ledger.end(row, ending) for row in [*rows, rows[1]]))

    assert told == [True, True, True, False]
    assert await money(database) == {(0, 3 * PRICE)}


async def test_a_late_picture_is_taken_whatever_became_of_its_row(ledger: SqlLedger, database: Database) -> None:
    row = await ledger.reserve(draft(), "k_1")
    billed = await ledger.reserve(draft("2"), "k_1")
    await ledger.end(row, Ending(State.UNKNOWN, None, error=LOST))
    await ledger.end(billed, Ending(State.UNKNOWN, None, error=LOST, request_id="r2"))
    await ledger.correct((await ledger.unsettled(confirm=False, since=0))[0], PRICE)

    for late in (row, billed):
        assert await ledger.end(late, Ending(State.SUCCEEDED, PRICE, URL)) is True

    found = await ledger.find(["1", "2"])
    assert {(one.state, one.url, one.actual) for one in found} == {(State.SUCCEEDED, URL, PRICE)}
    assert await money(database) == {(0, 2 * PRICE)}


@pytest.mark.parametrize("is_gone", [False, True])
async def test_an_ending_that_waited_for_the_database_leaves_the_picture_where_it_was_copied_to(
    ledger: SqlLedger, database: Database, is_gone: bool
) -> None:
    row = await ledger.reserve(draft(), "k_1")
    if is_gone:
        await ledger.end(row, Ending(State.FAILED, 0, error=LOST))
    await ledger.keep(row, OURS)

    await ledger.end(row, Ending(State.SUCCEEDED, PRICE, URL))

    [found] = await ledger.find(["1"])
    assert (found.state, found.url) == (State.SUCCEEDED, OURS)
    assert await money(database) == {(0, PRICE)}


@pytest.mark.parametrize("state", [State.UNKNOWN, State.FAILED])
async def test_what_ends_without_a_picture_has_none_though_one_was_copied(ledger: SqlLedger, state: State) -> None:
    """Its owner died before it could write that it was drawn."""
    row = await ledger.reserve(draft(), "k_1")
    await ledger.keep(row, OURS)

    await ledger.end(row, Ending(state, None, error=LOST))

    [found] = await ledger.find(["1"])
    assert (found.state, found.url) == (state, None)


async def test_what_is_in_flight_is_joined(ledger: SqlLedger) -> None:
    row = await ledger.reserve(draft(), "k_1")

    with pytest.raises(EarlierError) as found:
        await ledger.reserve(draft("2", flight="f1", fingerprint="f1"), "k_1")

    assert found.value.row.id == row.id


async def test_of_a_hundred_at_once_one_pays(ledger: SqlLedger, database: Database) -> None:
    async def reserve(number: int) -> bool:
        try:
            await ledger.reserve(draft(str(number), flight="f", fingerprint="f"), "k_1")
        except EarlierError:
            return False
        return True

    assert sum(await asyncio.gather(*[reserve(number) for number in range(100)])) == 1
    assert await money(database) == {(PRICE, 0)}


async def test_of_an_attempt_that_comes_twice_at_once_one_pays(ledger: SqlLedger, database: Database) -> None:
    """Though its pictures are fresh, so that no flight is joined, and though others come with it."""
    drafts = [draft(str(number), attempt=f"key_1:{number % 70}") for number in range(140)]

    told = await asyncio.gather(*(ledger.reserve(one, "k_1") for one in drafts), return_exceptions=True)

    assert [type(one) for one in told] == [Generation] * 70 + [EarlierError] * 70
    assert await money(database) == {(70 * PRICE, 0)}


@pytest.mark.parametrize("terms", [Terms(budget_day=25 * PRICE), Terms(budget_month=25 * PRICE)], ids=["day", "month"])
@pytest.mark.parametrize("owner", ["key", "team"])
async def test_of_two_thousand_racers_for_25_pictures_25_pay(ledger: SqlLedger, terms: Terms, owner: str) -> None:
    caller = Caller("key_1", "team", terms) if owner == "key" else Caller("key_1", "team", Terms(), terms)
    told = []

    async def reserve(number: int) -> bool:
        try:
            await ledger.reserve(draft(str(number), caller=caller), "k_1")
        except GatewayError as error:
            told.append(error)
            return False
        return True

    assert sum(await asyncio.gather(*[reserve(number) for number in range(2000)])) == 25
    assert {error.kind for error in told} == {Kind.INSUFFICIENT_QUOTA}


async def test_a_fence_that_is_gone_moves_nothing(ledger: SqlLedger, other: SqlLedger) -> None:
    row = await ledger.reserve(draft(), "k_1")
    taken = await other.adopt(row)
    assert taken is not None

    assert await ledger.accept(row, "r1", "t1") is None
    assert await ledger.end(row, Ending(State.UNKNOWN, None, error=LOST)) is False
    assert await other.end(taken, Ending(State.SUCCEEDED, PRICE, URL)) is True


async def test_its_owner_ends_a_row_whose_last_move_it_did_not_hear_of(ledger: SqlLedger, database: Database) -> None:
    row = await ledger.reserve(draft(), "k_1")
    await ledger.accept(row, "r1", "t1")

    assert await ledger.end(row, Ending(State.FAILED, 0, error=LOST)) is True
    assert await money(database) == {(0, 0)}


async def test_what_302_said_counts_though_somebody_else_had_given_up(
    ledger: SqlLedger, other: SqlLedger, database: Database
) -> None:
    row = await ledger.reserve(draft(), "k_1")
    taken = await other.adopt(row)
    assert taken is not None
    await other.end(taken, Ending(State.UNKNOWN, None, error=LOST))

    assert await ledger.end(row, Ending(State.FAILED, 0, error=LOST)) is True
    assert await money(database) == {(0, 0)}


async def test_an_orphan_is_what_no_living_worker_has(ledger: SqlLedger, database: Database) -> None:
    await ledger.beat()
    row = await ledger.reserve(draft(), "k_1")
    alive = await ledger.orphans(lapsed=True)
    await database.write(lambda connection: connection.execute(WORKERS.update().values(lease_until=0)))
    lapsed, left = await ledger.orphans(lapsed=True), await ledger.orphans(lapsed=False)
    await ledger.beat()
    await ledger.leave()

    assert (alive, [one.id for one in lapsed], left) == ([], [row.id], [])
    assert [one.id for one in await ledger.orphans(lapsed=False)] == [row.id]


async def test_a_worker_that_has_not_beaten_yet_is_alive_from_its_first_row_on(
    ledger: SqlLedger, other: SqlLedger
) -> None:
    await ledger.reserve(draft(), "k_1")

    assert await other.orphans(lapsed=True) == []


async def test_a_beat_tells_whether_the_lease_had_lapsed(ledger: SqlLedger, database: Database) -> None:
    first, second = await ledger.beat(), await ledger.beat()
    await database.write(lambda connection: connection.execute(WORKERS.update().values(lease_until=0)))

    assert (first, second, await ledger.beat(), await ledger.beat()) == (False, True, False, True)


async def test_the_same_attempt_finds_what_it_paid_for(ledger: SqlLedger) -> None:
    row = await ledger.reserve(draft(attempt="key_1:once"), "k_1")
    await ledger.end(row, Ending(State.SUCCEEDED, PRICE, URL))

    with pytest.raises(EarlierError) as found:
        await ledger.reserve(draft("2", attempt="key_1:once"), "k_1")

    assert found.value.row.url == URL


async def test_what_was_reserved_and_not_sent_is_let_go(ledger: SqlLedger, database: Database) -> None:
    await ledger.reserve(draft(), "k_1")
    await ledger.cancel(draft())
    await ledger.cancel(draft("never"))
    [row] = await ledger.find(["1"])

    assert await money(database) == {(0, 0)}
    assert row.error.kind is Kind.STORE_UNAVAILABLE  # as who waits for it elsewhere is told: it may be tried again


async def test_what_is_reserved_is_on_disk_whatever_the_server_thinks_of_that(database: Database) -> None:
    """A server may be set to tell of a commit before it is written; a crash would then forget what was paid."""

    def work(connection: Connection) -> str:
        name = "synchronous" if connection.dialect.name == "sqlite" else "synchronous_commit"
        asked = text(f"PRAGMA {name}" if connection.dialect.name == "sqlite" else f"SHOW {name}")
        return str(connection.scalar(asked))

    assert await database.write(work) in {"2", "on"}  # 2 is FULL


async def test_a_locked_database_is_away_and_comes_back(ledger: SqlLedger, database_url: str) -> None:
    other = open_engine(database_url, writes=True)
    await ledger.reserve(draft(), "k_1")
    with other.begin(), pytest.raises(DatabaseUnavailableError):
        await ledger.reserve(draft("2"), "k_1")

    assert isinstance(await ledger.reserve(draft("2"), "k_1"), Generation)
    other.dispose()


@pytest.mark.parametrize(("budget", "held"), [(3 * PRICE, 3), (3 * PRICE - 1, 0)])
async def test_all_pictures_of_a_request_fit_a_budget_or_none_is_paid(
    ledger: SqlLedger, budget: int, held: int
) -> None:
    bill, caller = Bill(), Caller("key_1", "team", Terms(budget_day=budget))
    drafts = [draft(str(number), caller=caller, bill=bill) for number in range(3)]
    for _ in drafts:
        bill.want(PRICE)

    results = await asyncio.gather(*(ledger.reserve(one, "k_1") for one in drafts), return_exceptions=True)

    assert sum(isinstance(one, Generation) for one in results) == held


async def test_what_may_not_be_paid_for_any_more_is_still_joined(ledger: SqlLedger) -> None:
    await ledger.reserve(draft(), "k_1")
    refusal = GatewayError(Kind.DRAINING, "stopping")

    with pytest.raises(EarlierError):
        await ledger.reserve(draft("2", flight="f1", fingerprint="f1", refusal=refusal), "k_1")
    with pytest.raises(GatewayError) as caught:
        await ledger.reserve(draft("3", refusal=refusal), "k_1")

    assert caught.value.kind is Kind.DRAINING
