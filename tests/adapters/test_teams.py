"""The directory of keys: who asks is known without I/O, and what changes is learned soon, on both databases."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import ColumnElement, Connection, Table, update

from gateway.adapters.database import Database, Work
from gateway.adapters.tables import KEYS, REVISION, TEAMS
from gateway.adapters.teams import TeamDirectory, any_key
from gateway.core.coerce import Policy
from gateway.core.keys import KEY_LABEL, Caller, Terms, mint
from gateway.core.secrets import derive, digest_of
from gateway.ports import DatabaseUnavailableError
from tests.fakes import FakeClock, until

OURS = "0123456789abcdef0123456789abcdef"
FIRST, SECOND, UNKNOWN = (mint(number).encode() for number in (1, 2, 3))


def digest(secret: bytes) -> bytes:
    return digest_of(derive(OURS, KEY_LABEL), secret)


def bump(connection: Connection) -> int:
    one_more = update(REVISION).values(newest=REVISION.c.newest + 1).returning(REVISION.c.newest)
    newest: int = connection.execute(one_more).scalar_one()
    return newest


async def add_team(database: Database, name: str, **terms: object) -> None:
    def work(connection: Connection) -> None:
        connection.execute(TEAMS.insert().values(name=name, created=0, revision=bump(connection), **terms))

    await database.write(work)


async def add_key(database: Database, id_: str, team: str, secret: bytes, **more: object) -> None:
    def work(connection: Connection) -> None:
        row = {"id": id_, "team": team, "name": id_, "digest": digest(secret), "last_four": "0000", "created": 0}
        connection.execute(KEYS.insert().values(**row, revision=bump(connection), **more))

    await database.write(work)


async def change(database: Database, table: Table, which: ColumnElement[bool], **values: object) -> None:
    def work(connection: Connection) -> None:
        connection.execute(update(table).where(which).values(revision=bump(connection), **values))

    await database.write(work)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def directory(database: Database, clock: FakeClock) -> TeamDirectory:
    await add_team(database, "design")
    await add_key(database, "key_1", "design", FIRST)
    made = TeamDirectory(database, OURS, clock)
    await made.refresh()
    return made


async def test_a_key_is_known_by_its_secret_alone(directory: TeamDirectory) -> None:
    assert directory.find(FIRST) == Caller("key_1", "design")
    for wrong in (SECOND, UNKNOWN, FIRST[:-1] + b"0", b"", b"gw_live_", b"key_1", b"\xff" * 44):
        assert directory.find(wrong) is None


async def test_a_key_is_known_by_its_id_too(database: Database, directory: TeamDirectory) -> None:
    await change(database, KEYS, KEYS.c.id == "key_1", revoked=1.0)
    await directory.refresh()

    assert directory.named("key_1") == Caller("key_1", "design", Terms(disabled=True))
    assert directory.named("key_2") is None


async def test_without_the_same_secret_no_key_is_known(database: Database, directory: TeamDirectory) -> None:
    other = TeamDirectory(database, OURS[::-1], FakeClock())
    await other.refresh()

    assert other.find(FIRST) is None


async def test_terms_are_read_as_they_were_written(database: Database, directory: TeamDirectory) -> None:
    terms = Terms(("flux-*", "dall-e-*"), 10, 20, 3, 5_000_000, 2**40, 1e9, Policy.STRICT, disabled=True)
    row = {"models": "flux-*\ndall-e-*", "rpm": 10, "ipm": 20, "concurrency": 3, "budget_day": 5_000_000}
    row |= {"budget_month": 2**40, "expires": 1e9, "coercion": "strict", "disabled": True}
    await add_team(database, "shop", **row)
    await add_key(database, "key_2", "shop", SECOND, **row)
    await directory.refresh()

    assert directory.find(SECOND) == Caller("key_2", "shop", terms, terms)


async def test_a_change_of_a_team_is_one_of_all_its_keys(database: Database, directory: TeamDirectory) -> None:
    await add_key(database, "key_2", "design", SECOND)
    await change(database, TEAMS, TEAMS.c.name == "design", rpm=7)
    await directory.refresh()

    assert [directory.find(secret).team_terms for secret in (FIRST, SECOND)] == [Terms(rpm=7)] * 2  # type: ignore[union-attr]


async def test_a_revoked_key_is_disabled(database: Database, directory: TeamDirectory) -> None:
    await change(database, KEYS, KEYS.c.id == "key_1", revoked=1.0)
    await directory.refresh()

    assert directory.find(FIRST) == Caller("key_1", "design", Terms(disabled=True))
    assert not await database.read(any_key)


async def test_a_rotated_keys_old_secret_is_good_for_a_while(
    database: Database, directory: TeamDirectory, clock: FakeClock
) -> None:
    which = KEYS.c.id == "key_1"
    await change(database, KEYS, which, digest=digest(SECOND), old_digest=digest(FIRST), old_until=clock.now() + 10)
    await directory.refresh()
    assert directory.find(FIRST) == directory.find(SECOND) == Caller("key_1", "design")

    clock.advance(10)
    assert directory.find(FIRST) is None
    assert directory.find(SECOND) == Caller("key_1", "design")

    await change(database, KEYS, which, digest=digest(UNKNOWN), old_digest=None, old_until=None)
    await directory.refresh()
    assert (directory.find(FIRST), directory.find(SECOND)) == (None, None)
    assert directory.find(UNKNOWN) == Caller("key_1", "design")


async def test_a_database_that_was_put_back_is_read_anew(database: Database, directory: TeamDirectory) -> None:
    await add_key(database, "key_2", "design", SECOND)
    await directory.refresh()

    def put_back(connection: Connection) -> None:
        connection.execute(KEYS.delete().where(KEYS.c.id == "key_2"))
        connection.execute(update(REVISION).values(newest=2))

    await database.write(put_back)
    await directory.refresh()

    assert directory.find(SECOND) is None
    assert directory.find(FIRST) == Caller("key_1", "design")


async def test_what_changes_is_learned_by_itself(database: Database, directory: TeamDirectory) -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(directory.keep_fresh(every=0.01))
        await add_key(database, "key_2", "design", SECOND)
        await until(lambda: directory.find(SECOND) is not None)
        task.cancel()


@pytest.fixture
async def away() -> AsyncIterator[Database]:
    opened = Database("postgresql://nobody@127.0.0.1:1/none", lambda: None)
    yield opened
    await opened.aclose()


async def test_while_the_database_is_away_nothing_is_forgotten(directory: TeamDirectory, away: Database) -> None:
    directory._database, database = away, directory._database  # type: ignore[misc]
    with pytest.raises(DatabaseUnavailableError):
        await directory.refresh()
    assert directory.find(FIRST) == Caller("key_1", "design")

    directory._database = database  # type: ignore[misc]
    await directory.refresh()


async def test_many_that_ask_together_are_answered_by_two_readings(
    database: Database, directory: TeamDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = []
    read = database.read

    async def counted(work: Work[object]) -> object:
        readings.append(work)
        return await read(work)

    monkeypatch.setattr(database, "read", counted)
    await asyncio.gather(*(directory.refresh() for _ in range(100)))

    assert len(readings) == 2


async def test_whoever_comes_during_a_reading_gets_what_was_written_before_he_came(
    database: Database, directory: TeamDirectory
) -> None:
    for number in range(10, 40):
        secret = mint(number).encode()
        reading = asyncio.ensure_future(directory.refresh())
        await add_key(database, f"key_{number}", "design", secret)
        await directory.refresh()

        assert directory.find(secret) is not None
        await reading
