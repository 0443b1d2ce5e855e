"""What both databases promise to those who write together: each gets its own answer, whatever befalls the others."""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from threading import Event

import pytest
from sqlalchemy import Connection, bindparam, insert, text
from sqlalchemy.exc import IntegrityError

from gateway.adapters import database as module
from gateway.adapters.database import Database
from gateway.adapters.engines import open_engine
from gateway.adapters.prepared import prepared
from gateway.adapters.tables import WORKERS
from gateway.adapters.writer import ApartError, Transaction
from gateway.ports import DatabaseUnavailableError
from tests.fakes import until
from tests.postgres import Postgres


def adds(name: str) -> module.Work[str]:
    def work(connection: Connection) -> str:
        connection.execute(WORKERS.insert().values(id=name, lease_until=0.0))
        return name

    return work


async def names(database: Database) -> list[str]:
    return await database.read(lambda connection: sorted(connection.scalars(WORKERS.select())))


async def test_what_fails_in_a_group_rolls_back_only_itself(database: Database) -> None:
    def fails(connection: Connection) -> str:
        adds("fails")(connection)
        raise ZeroDivisionError

    work = [adds("a"), adds("b"), fails, adds("a"), adds("c")]
    told = await asyncio.gather(*(database.write(one) for one in work), return_exceptions=True)

    kinds = [one if isinstance(one, str) else type(one) for one in told]
    assert kinds == ["a", "b", ZeroDivisionError, IntegrityError, "c"]
    assert await names(database) == ["a", "b", "c"]


async def test_what_is_alike_is_done_at_once_and_each_is_told_its_own(database: Database) -> None:
    seen: list[list[int]] = []

    def halved(_transaction: Transaction, numbers: Sequence[int]) -> list[int | Exception]:
        seen.append([*numbers])
        return [ValueError(number) if number % 2 else number // 2 for number in numbers]

    told = await asyncio.gather(
        database.write_each(halved, 4),
        database.write(adds("other")),
        *(database.write_each(halved, number) for number in (5, 6)),
        return_exceptions=True,
    )

    assert seen == [[4, 5, 6]]
    assert [one if isinstance(one, int | str) else type(one) for one in told] == [2, "other", ValueError, 3]
    assert await names(database) == ["other"]


async def test_what_cannot_be_done_at_once_is_done_apart(database: Database) -> None:
    def work(transaction: Transaction, some: Sequence[str]) -> list[str]:
        for one in some:
            adds(one)(transaction.connection)
        if len(some) > 1:
            raise ApartError
        return [*some]

    assert await asyncio.gather(*(database.write_each(work, name) for name in "abc")) == ["a", "b", "c"]
    assert await names(database) == ["a", "b", "c"]


BY_THE_DRIVER = prepared(insert(WORKERS).values(id=bindparam("id"), lease_until=bindparam("lease_until")))


def adds_by_the_driver(*names: str) -> Callable[[Transaction], int]:
    return lambda transaction: BY_THE_DRIVER.change(transaction, [{"id": name, "lease_until": 0.0} for name in names])


def cannot_be_committed(transaction: Transaction) -> int:
    reference = "REFERENCES teams (name) DEFERRABLE INITIALLY DEFERRED"
    transaction.cursor.execute(f"CREATE TABLE members (team TEXT {reference})")
    transaction.cursor.execute("INSERT INTO members VALUES ('no team')")
    return 0


@pytest.mark.parametrize(
    "fails", [adds_by_the_driver("b", "c", "b"), cannot_be_committed], ids=["on-its-cursor", "at-its-commit"]
)
async def test_an_error_of_the_driver_rolls_back_only_what_made_it(
    database: Database, fails: Callable[[Transaction], int]
) -> None:
    work = [adds_by_the_driver("a"), fails, adds_by_the_driver("d", "e")]
    first, error, last = await asyncio.gather(*(database.transact(one) for one in work), return_exceptions=True)

    assert (first, last) == (1, 2)
    assert "IntegrityError" in [kind.__name__ for kind in type(error).__mro__]
    assert await database.transact(adds_by_the_driver("f")) == 1
    assert await names(database) == ["a", "d", "e", "f"]


async def test_what_nobody_waits_for_any_more_is_written_all_the_same(database: Database) -> None:
    task = asyncio.create_task(database.write(adds("left")))
    await asyncio.sleep(0)
    task.cancel()

    await database.write(adds("stayed"))

    assert (task.cancelled(), await names(database)) == (True, ["left", "stayed"])


async def test_what_was_begun_is_finished_before_the_end(database_url: str) -> None:
    closing = Database(database_url, lambda: None)
    tasks = [asyncio.create_task(closing.write(adds(name))) for name in "ab"]
    await asyncio.sleep(0)
    await closing.aclose()

    assert [task.result() for task in tasks] == ["a", "b"]


async def test_what_comes_while_it_is_being_closed_does_not_hold_it_up(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing, is_writing, goes_on, closes = Database(database_url, lambda: None), Event(), Event(), Event()
    close = closing._close

    def late() -> None:
        closes.wait()
        close()

    def slow(connection: Connection) -> str:
        is_writing.set()
        goes_on.wait()
        return adds("slow")(connection)

    monkeypatch.setattr(closing, "_close", late)
    closed = asyncio.create_task(closing.aclose())
    await asyncio.sleep(0)
    first = asyncio.create_task(closing.write(slow))
    await until(is_writing.is_set)
    second = asyncio.create_task(closing.write(adds("late")))
    await until(lambda: closing._groups.qsize() == 1)
    closes.set()
    await until(lambda: closing._groups.qsize() == 2)
    goes_on.set()

    async with asyncio.timeout(5):
        assert [await first, await second] == ["slow", "late"]
        await closed


async def test_a_database_that_hangs_is_away_to_who_waits_and_to_who_comes(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody joins the queue while it stands; what was in it is written when the database goes on."""
    errors: list[None] = []
    hanging, goes_on = Database(database_url, lambda: errors.append(None)), Event()
    monkeypatch.setattr(module, "PATIENCE", 0.05)

    def hangs(connection: Connection) -> str:
        goes_on.wait()
        return adds("late")(connection)

    first = asyncio.create_task(hanging.write(hangs))
    began = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() == began:  # noqa: ASYNC110 - the clock goes on
        await asyncio.sleep(0)
    told = await asyncio.gather(first, hanging.write(adds("too")), return_exceptions=True)
    with pytest.raises(DatabaseUnavailableError):
        await hanging.write(adds("never"))
    monkeypatch.undo()
    goes_on.set()
    while hanging._is_stuck:  # noqa: ASYNC110 - its thread goes on
        await asyncio.sleep(0)

    assert ([type(one) for one in told], len(errors)) == ([DatabaseUnavailableError] * 2, 2)
    assert await hanging.write(adds("again")) == "again"
    assert await names(hanging) == ["again", "late", "too"]
    await hanging.aclose()


async def test_a_connection_that_was_cut_between_two_writes_is_made_anew(postgres: Postgres, migrated: str) -> None:
    database = Database(url := postgres.url(postgres.create(migrated)), lambda: None)
    await database.write(adds("before"))
    cut(url)

    assert await database.write(adds("after")) == "after"
    await database.aclose()


async def test_a_connection_that_is_cut_in_a_write_is_away_and_made_anew(postgres: Postgres, migrated: str) -> None:
    database = Database(url := postgres.url(postgres.create(migrated)), lambda: None)

    def work(connection: Connection) -> None:
        adds("lost")(connection)
        cut(url)
        adds("lost too")(connection)

    told = await asyncio.gather(database.write(work), database.write(adds("both")), return_exceptions=True)

    assert [type(one) for one in told] == [DatabaseUnavailableError] * 2
    assert await database.write(adds("after")) == "after"
    assert await names(database) == ["after"]
    await database.aclose()


def cut(url: str) -> None:
    """Cut all connections, as a restart of the server does."""
    engine = open_engine(url, writes=False)
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with engine.connect() as connection:
        connection.execute(text(f"SELECT pg_terminate_backend(pid) {others}"))
    engine.dispose()


def may_batch() -> bool:
    """Whether a thread may be told to wait for the others."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        os.sched_setscheduler(0, *before)
    except OSError:
        return False
    return True


@pytest.mark.skipif(sys.platform != "linux" or not may_batch(), reason="this system lets no thread wait for the others")
async def test_who_writes_does_not_take_the_cpu_from_who_asks_for_it(database: Database) -> None:
    before = os.sched_getscheduler(0)

    assert await database.write(lambda _connection: os.sched_getscheduler(0)) == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == before
