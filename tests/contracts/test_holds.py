"""What a request may join or must be told of is found in the ledger, whatever else was drawn of the same picture."""

import asyncio
from functools import partial
from random import Random
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, select, update

from gateway.adapters import holds
from gateway.adapters.database import Database
from gateway.adapters.ledger import SqlLedger
from gateway.adapters.money import COLUMNS, generation_of
from gateway.adapters.prepared import Prepared, Rows, Values
from gateway.adapters.tables import GENERATIONS, now
from gateway.adapters.writer import Transaction
from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import Caller
from gateway.core.ledger import Bill, Draft, Ending, Generation, Moment, State, earlier
from gateway.ports import EarlierError
from tests.fakes import FakeClock

OWN, OTHER = Caller("key_1", "team"), Caller("key_2", "team")
# More than are read of what may answer.
MANY = 60
PRICE = 40_000
DRAWN = Ending(State.SUCCEEDED, PRICE, "https://pictures.example/1.png")
LOST = Ending(State.UNKNOWN, None, error=GatewayError(Kind.UPSTREAM_UNKNOWN, "lost"), request_id="r1")


@pytest.fixture
def ledger(database: Database) -> SqlLedger:
    return SqlLedger(database, FakeClock(), "worker-1", unknown_hold=60)


def draft(name: str, **fields: object) -> Draft:
    """Of one that looked into the cache; nothing is young enough to have been missed there."""
    bill = Bill()
    bill.want(PRICE)
    return msgspec.structs.replace(Draft(name, "f", "f", OWN, "flux", PRICE, 3600, bill), **fields)


def fresh(name: str, **fields: object) -> Draft:
    """Of one that did not want to look."""
    return draft(name, flight=name, **fields)


async def reserve_many(ledger: SqlLedger, caller: Caller) -> list[Generation]:
    """As many fresh pictures are under way."""
    drafts = [fresh(f"{caller.key}:{number}", caller=caller) for number in range(MANY)]
    return await asyncio.gather(*(ledger.reserve(one, "k_1") for one in drafts))


async def draw_many(ledger: SqlLedger, caller: Caller) -> None:
    """As many fresh pictures were drawn."""
    rows = await reserve_many(ledger, caller)
    await asyncio.gather(*(ledger.end(row, DRAWN) for row in rows))


async def found(ledger: SqlLedger, wanted: Draft) -> str | None:
    """The id of what it joins or is told; None where it may be paid for."""
    try:
        await ledger.reserve(wanted, "k_1")
    except EarlierError as error:
        return error.row.id
    return None


@pytest.mark.parametrize("caller", [OWN, OTHER], ids=["own", "of-another-key"])
async def test_what_is_under_way_is_joined_however_many_fresh_ones_came_since(
    ledger: SqlLedger, caller: Caller
) -> None:
    await ledger.reserve(draft("first"), "k_1")
    await draw_many(ledger, caller)

    assert await found(ledger, draft("again")) == "first"


@pytest.mark.parametrize("caller", [OWN, OTHER], ids=["own", "of-another-key"])
async def test_what_is_under_way_is_joined_however_long_ago_it_began(
    ledger: SqlLedger, database: Database, caller: Caller
) -> None:
    """As after an outage, of whose calls nobody has taken care yet."""
    await ledger.reserve(draft("first"), "k_1")
    await database.write(
        lambda connection: connection.execute(update(GENERATIONS).values(created=GENERATIONS.c.created - 86_400))
    )

    assert await found(ledger, draft("again", caller=caller)) == "first"


@pytest.mark.parametrize("is_billed", [False, True], ids=["unknown", "billed"])
async def test_an_unknown_outcome_is_told_however_long_ago_its_call_began(
    ledger: SqlLedger, database: Database, *, is_billed: bool
) -> None:
    """As after an outage, whose calls are found to be lost when it is over."""
    row = await ledger.reserve(draft("first"), "k_1")
    await database.write(
        lambda connection: connection.execute(update(GENERATIONS).values(created=GENERATIONS.c.created - 86_400))
    )
    await ledger.end(row, LOST)
    if is_billed:
        [unknown] = await ledger.unsettled(confirm=False, since=0)
        await ledger.correct(unknown, PRICE)

    assert await found(ledger, draft("again")) == "first"
    assert await found(ledger, fresh("afresh")) == "first"
    assert await found(ledger, draft("of another key", caller=OTHER)) is None


class Counting:
    """A statement, and how often it was run."""

    def __init__(self, of: Prepared) -> None:
        self._of = of
        self.runs = 0

    def rows(self, transaction: Transaction, values: Values) -> Rows:
        self.runs += 1
        return self._of.rows(transaction, values)


async def test_a_crowd_of_fresh_ones_is_looked_up_once_and_each_finds_its_own_attempt(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await draw_many(ledger, OWN)
    counting = Counting(holds._RECENT)
    monkeypatch.setattr(holds, "_RECENT", counting)

    names = [
        await asyncio.gather(*(found(ledger, fresh(f"{turn}:{number}", attempt=f"{number}")) for number in range(MANY)))
        for turn in range(2)
    ]

    assert names == [[None] * MANY, [f"0:{number}" for number in range(MANY)]]
    assert counting.runs < 10


@pytest.mark.parametrize("caller", [OWN, OTHER], ids=["own", "of-another-key"])
async def test_what_has_just_been_drawn_is_joined_however_many_fresh_ones_came_since(
    ledger: SqlLedger, caller: Caller
) -> None:
    row = await ledger.reserve(draft("first"), "k_1")
    await draw_many(ledger, caller)
    await ledger.end(row, DRAWN)

    assert await found(ledger, draft("again", lag=600.0)) == "first"


@pytest.mark.parametrize("caller", [OWN, OTHER], ids=["own", "of-another-key"])
@pytest.mark.parametrize("is_billed", [False, True], ids=["unknown", "billed"])
async def test_an_unknown_outcome_is_told_however_many_fresh_ones_came_since(
    ledger: SqlLedger, caller: Caller, *, is_billed: bool
) -> None:
    row = await ledger.reserve(fresh("first"), "k_1")
    many = await reserve_many(ledger, caller)
    await ledger.end(row, LOST)
    await asyncio.gather(*(ledger.end(one, DRAWN) for one in many))
    if is_billed:
        [unknown] = await ledger.unsettled(confirm=False, since=0)
        await ledger.correct(unknown, PRICE)

    assert await found(ledger, draft("again")) == "first"
    assert await found(ledger, fresh("afresh")) == "first"


async def test_a_crowd_of_fresh_ones_is_told_of_an_unknown_outcome_each_key_of_its_own(ledger: SqlLedger) -> None:
    row = await ledger.reserve(fresh("first"), "k_1")
    await ledger.end(row, LOST)
    crowd = [fresh(f"{number}", caller=OWN if number % 2 else OTHER) for number in range(MANY)]

    told = await asyncio.gather(*(found(ledger, one) for one in crowd))

    assert told == [None, "first"] * (MANY // 2)


@pytest.mark.parametrize("is_over", [False, True], ids=["under-way", "drawn"])
async def test_a_retry_finds_its_fresh_picture_however_many_others_drew_since(
    ledger: SqlLedger, *, is_over: bool
) -> None:
    row = await ledger.reserve(fresh("first"), "k_1")
    if is_over:
        await ledger.end(row, DRAWN)
    await draw_many(ledger, OTHER)

    assert await found(ledger, fresh("again", is_retry=True)) == "first"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"flight": "f"}, id="who-looked-into-the-cache"),
        pytest.param({"is_retry": True}, id="a-retry"),
        pytest.param({"attempt": "key_1:once"}, id="an-attempt"),
    ],
)
async def test_of_those_that_may_join_each_other_one_pays_though_the_picture_was_drawn_before(
    ledger: SqlLedger, fields: dict[str, object]
) -> None:
    await ledger.end(await ledger.reserve(fresh("first", caller=OTHER), "k_1"), DRAWN)
    crowd = [msgspec.structs.replace(fresh(f"{number}"), **fields) for number in range(MANY)]

    told = await asyncio.gather(*(found(ledger, one) for one in crowd))

    assert told == [None] + ["0"] * (MANY - 1)


async def test_what_can_be_had_from_the_cache_hides_nothing(ledger: SqlLedger, database: Database) -> None:
    row = await ledger.reserve(fresh("first"), "k_1")
    await draw_many(ledger, OTHER)
    some_time_ago = {"flight": "f", "finished": GENERATIONS.c.finished - 300}
    drawn = GENERATIONS.c.state == State.SUCCEEDED.value
    await database.write(lambda connection: connection.execute(GENERATIONS.update().where(drawn).values(some_time_ago)))
    await ledger.end(row, LOST)

    assert await found(ledger, draft("again")) == "first"


async def test_pictures_that_are_lost_hide_nothing(ledger: SqlLedger) -> None:
    await ledger.reserve(draft("first"), "k_1")
    await draw_many(ledger, OWN)
    lost = await ledger.find([f"{OWN.key}:{number}" for number in range(MANY)])
    gone = max(row.created for row in lost)

    assert await found(ledger, fresh("again", is_retry=True, newer_than=gone)) == "first"


async def test_what_failed_unbilled_hides_nothing(ledger: SqlLedger) -> None:
    row = await ledger.reserve(draft("first"), "k_1")
    many = await reserve_many(ledger, OWN)
    await asyncio.gather(*(ledger.end(one, Ending(State.FAILED, 0, error=LOST.error)) for one in many))
    await ledger.end(row, LOST)

    assert await found(ledger, draft("again")) == "first"
    assert await found(ledger, fresh("retried", is_retry=True)) == "first"


# In seconds, far from all that is asked for below: how fast the machine is says nothing about a rule.
AGES = (50, 450, 750, 1200)
HOLD, LAG = 600.0, 300.0
STATES = (
    (State.SENT, None),
    (State.SUCCEEDED, PRICE),
    (State.SUCCEEDED, PRICE),
    (State.FAILED, 0),
    (State.FAILED, None),
    (State.FAILED, PRICE),
    (State.UNKNOWN, None),
)


def some_rows(chance: Random, fingerprint: str, at: float) -> list[dict[str, Any]]:
    """A few of one fingerprint, of which at most one a flight is under way."""
    rows: list[dict[str, Any]] = []
    for number in range(chance.randint(1, 4)):
        id_ = f"{fingerprint}-{number}"
        state, actual = chance.choice(STATES)
        flight = chance.choice([fingerprint, id_])
        if state is State.SENT and any(row["flight"] == flight and row["state"] == state for row in rows):
            continue
        created = at - chance.choice(AGES) - number / 10
        finished = None if state is State.SENT else min(at, max(at - chance.choice(AGES), created) + number / 100)
        row: dict[str, Any] = {
            "id": id_,
            "flight": flight,
            "fingerprint": fingerprint,
            "state": state,
            "actual": actual,
        }
        row |= {"key": chance.choice([OWN.key, OTHER.key]), "attempt": chance.choice([None, "once"])}
        row |= {"ttl": chance.choice([0, 3600]), "team": "team", "model": "flux", "version": 1, "owner": "me"}
        row |= {"day": "2026-11-29", "reserved": 1, "billed": False, "created": created, "finished": finished}
        rows.append(row)
    return rows


async def test_of_all_rows_the_same_is_found_as_the_rules_would_choose(database: Database) -> None:
    """The database is asked only for what may answer; it leaves out nothing that does."""
    chance, clock = Random(302), FakeClock()
    ledger = SqlLedger(database, clock, "worker-1", unknown_hold=HOLD, longest=3600)
    at = await database.read(lambda connection: connection.execute(select(now())).scalar_one())
    answers = set()
    for number in range(120):
        fingerprint = f"f{number}"
        rows = await database.write(partial(_inserted, some_rows(chance, fingerprint, at)))
        flight, attempt, lag = (
            chance.choice([fingerprint, "new"]),
            chance.choice([None, "once"]),
            chance.choice([0, LAG]),
        )
        wanted = draft("new", fingerprint=fingerprint, flight=flight, attempt=attempt, lag=lag)
        gone = chance.choice([None, None, *(row.created for row in rows)])
        wanted = msgspec.structs.replace(wanted, is_retry=chance.random() < 0.5, newer_than=gone)
        newest = sorted(rows, key=lambda row: row.created, reverse=True)
        of_attempt = [row for row in newest if row.attempt == attempt is not None]
        chosen = earlier(wanted, [*of_attempt, *newest], Moment(at, clock.monotonic()), HOLD)

        answer = await found(ledger, wanted)

        assert answer == (chosen and chosen.id), (wanted, newest)
        answers.add(answer and answer[-1])
        await database.write(lambda connection: connection.execute(GENERATIONS.delete()))
    assert answers == {None, "0", "1", "2", "3"}


def _inserted(values: list[dict[str, Any]], connection: Connection) -> list[Generation]:
    connection.execute(GENERATIONS.insert(), values)
    return [generation_of(row) for row in connection.execute(select(*COLUMNS))]
