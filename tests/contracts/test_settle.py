"""What a person says of an unknown outcome, on both databases: its money moves once, with a row in the audit."""

import asyncio

import msgspec
import pytest

from gateway.adapters.database import Database
from gateway.adapters.ledger import SqlLedger
from gateway.adapters.records import Records
from gateway.adapters.tables import BUDGETS, GENERATIONS, USAGE
from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import Caller
from gateway.core.ledger import Bill, Draft, Ending, Generation, State
from gateway.core.pages import Json, Sought, Wanted
from gateway.ports import EarlierError
from tests.fakes import FakeClock

PRICE = 40_000
URL = "https://pictures.example/1.png"
LOST = GatewayError(Kind.UPSTREAM_UNKNOWN, "lost")
DRAFT = Draft("1", "f1", "f1", Caller("key_1", "team"), "flux", PRICE, 3600, Bill())

WRONG: list[object] = [-0.01, 0.0000001, "", "0,04", "nan", float("inf"), True, [], {}, 1e300, "9" * 40, "\x00"]


@pytest.fixture
def records(database: Database) -> Records:
    return Records(database, FakeClock())


@pytest.fixture
def ledger(database: Database) -> SqlLedger:
    return SqlLedger(database, FakeClock(), "worker-1", unknown_hold=60)


@pytest.fixture
async def unknown(ledger: SqlLedger) -> Generation:
    """A row whose call never got an id."""
    row = await ledger.reserve(DRAFT, "k_1")
    await ledger.end(row, Ending(State.UNKNOWN, None, error=LOST))
    [found] = await ledger.find(["1"])
    return found


async def money(database: Database) -> tuple[set[tuple[int, int]], list[tuple[int, int]]]:
    """(held, spent) of all budgets, and (images, cost) of all usage."""
    budgets = await database.read(lambda connection: [*connection.execute(BUDGETS.select())])
    usage = await database.read(lambda connection: [*connection.execute(USAGE.select())])
    return {(row.held, row.spent) for row in budgets}, [(row.images, row.cost) for row in usage]


async def changes(records: Records) -> list[Json]:
    return (await records.audit(Wanted())).data


@pytest.mark.parametrize(
    ("cost", "micro", "usage"), [(0.04, 40_000, [(0, 40_000)]), ("0.000001", 1, [(0, 1)]), (0, 0, []), ("0", 0, [])]
)
async def test_its_hold_is_let_go_and_its_cost_is_spent(
    records: Records, unknown: Generation, database: Database, cost: object, micro: int, usage: list[tuple[int, int]]
) -> None:
    before = await records.generation(unknown.id)
    after = await records.settle("me", unknown.id, {"cost": cost})

    assert await money(database) == ({(0, micro)}, usage)
    assert (before["state"], before["actual"]) == ("unknown", None)
    assert after == await records.generation(unknown.id) == {**before, "state": "failed", "actual": micro / 1_000_000}
    [row] = await database.read(lambda connection: [*connection.execute(GENERATIONS.select())])
    assert (row.billed, row.version) == (True, unknown.version + 1)
    [change] = await changes(records)
    assert [change[name] for name in ("actor", "action", "target")] == ["me", "generation.settle", "generation:1"]
    assert (change["at"], change["before"], change["after"]) == ("2027-01-15T08:00:00.000Z", before, after)


async def test_of_many_who_settle_it_one_does(records: Records, unknown: Generation, database: Database) -> None:
    told = await asyncio.gather(
        *(records.settle("me", unknown.id, {"cost": cost}) for cost in range(1, 9)), return_exceptions=True
    )

    refused = [one for one in told if isinstance(one, GatewayError)]
    assert (len(refused), {one.kind for one in refused}) == (7, {Kind.CONFLICT})
    assert "is failed" in refused[0].message
    [change] = await changes(records)
    assert (await money(database))[0] == {(0, round(change["after"]["actual"] * 1_000_000))}


async def test_a_bill_that_comes_later_moves_nothing(
    records: Records, ledger: SqlLedger, unknown: Generation, database: Database
) -> None:
    await records.settle("me", unknown.id, {"cost": 0.05})
    await ledger.correct(unknown, PRICE)

    assert await money(database) == ({(0, 50_000)}, [(0, 50_000)])
    assert await ledger.unsettled(confirm=True, since=0) == []


async def test_a_bill_that_came_before_is_not_overruled(
    records: Records, ledger: SqlLedger, unknown: Generation, database: Database
) -> None:
    await ledger.correct(unknown, PRICE)

    with pytest.raises(GatewayError, match="is failed"):
        await records.settle("me", unknown.id, {"cost": 0})
    assert (await money(database))[0] == {(0, PRICE)}
    assert await changes(records) == []


@pytest.mark.parametrize("state", ["sent", "accepted", "succeeded", "failed"])
async def test_only_an_unknown_outcome_is_settled(
    records: Records, ledger: SqlLedger, database: Database, state: str
) -> None:
    row = await ledger.reserve(DRAFT, "k_1")
    if state == "accepted":
        await ledger.accept(row, "r1", "t1")
    elif state != "sent":
        url = URL if state == "succeeded" else None
        await ledger.end(row, Ending(State(state), 0, url, error=None if url else LOST))
    before = await money(database)

    with pytest.raises(GatewayError, match=f"is {state}") as caught:
        await records.settle("me", row.id, {"cost": 0.04})

    assert (caught.value.kind, await money(database), await changes(records)) == (Kind.CONFLICT, before, [])
    assert (await records.generation(row.id))["state"] == state


@pytest.mark.parametrize(
    ("data", "kind", "param"),
    [
        ({}, Kind.MISSING_PARAMETER, "cost"),
        ({"cost": None}, Kind.MISSING_PARAMETER, "cost"),
        ({"cost": 0.04, "state": "failed"}, Kind.INVALID_VALUE, "state"),
        *(({"cost": cost}, Kind.INVALID_VALUE, "cost") for cost in WRONG),
    ],
)
async def test_what_is_wrong_with_a_cost_is_named_and_moves_nothing(
    records: Records, unknown: Generation, database: Database, data: Json, kind: Kind, param: str
) -> None:
    before = await money(database)

    with pytest.raises(GatewayError) as caught:
        await records.settle("me", unknown.id, data)

    assert (caught.value.kind, caught.value.param) == (kind, param)
    assert "limit" not in caught.value.message
    assert await money(database) == before
    assert [one["id"] for one in (await records.generations(Wanted(), Sought(state="unknown"))).data] == ["1"]


@pytest.mark.parametrize("id_", ["2", "", "\x00", "\ud800", "x" * 10_000, "' OR 1=1 --"])
async def test_what_is_not_there_is_not_found(records: Records, unknown: Generation, id_: str) -> None:
    assert unknown.id != id_
    for work in (records.generation(id_), records.settle("me", id_, {"cost": 0})):
        with pytest.raises(GatewayError) as caught:
            await work
        assert caught.value.kind is Kind.NOT_FOUND


@pytest.mark.parametrize(("cost", "told_again"), [(0.04, True), (0, False)])
async def test_what_was_billed_is_told_to_its_retry_and_what_was_not_may_be_tried_again(
    records: Records, ledger: SqlLedger, database: Database, cost: float, told_again: bool
) -> None:
    attempt = msgspec.structs.replace(DRAFT, attempt="key_1:once")
    row = await ledger.reserve(attempt, "k_1")
    await ledger.end(row, Ending(State.UNKNOWN, None, error=LOST))
    await records.settle("me", row.id, {"cost": cost})
    again = msgspec.structs.replace(attempt, id="2")

    if told_again:
        with pytest.raises(EarlierError) as found:
            await ledger.reserve(again, "k_1")
        assert (found.value.row.id, found.value.row.error.kind) == (row.id, Kind.UPSTREAM_UNKNOWN)
    else:
        assert (await ledger.reserve(again, "k_1")).id == "2"
        assert (await money(database))[0] == {(PRICE, 0)}


async def test_a_picture_that_comes_after_all_is_taken_in_and_paid_though_its_cost_was_said_to_be_none(
    records: Records, ledger: SqlLedger, unknown: Generation, database: Database
) -> None:
    await records.settle("me", unknown.id, {"cost": 0})
    late = Ending(State.SUCCEEDED, PRICE, URL, request_id="r1")

    assert [await ledger.end(unknown, late), await ledger.end(unknown, late)] == [True, False]

    [row] = await ledger.find([unknown.id])
    assert (row.state, row.url, row.actual, row.error_code) == (State.SUCCEEDED, URL, PRICE, None)
    assert await money(database) == ({(0, PRICE)}, [(1, PRICE)])
    assert await ledger.unsettled(confirm=True, since=0) == [row]  # what was said is not 302's bill


async def test_what_a_person_found_billed_is_not_billed_again_by_its_late_picture(
    records: Records, ledger: SqlLedger, unknown: Generation, database: Database
) -> None:
    await records.settle("me", unknown.id, {"cost": 0.05})

    assert await ledger.end(unknown, Ending(State.SUCCEEDED, PRICE, URL, request_id="r1")) is True

    [row] = await ledger.find([unknown.id])
    assert (row.state, row.url, row.actual) == (State.SUCCEEDED, URL, 50_000)
    assert await money(database) == ({(0, 50_000)}, [(1, 50_000)])
    assert await ledger.unsettled(confirm=True, since=0) == []
