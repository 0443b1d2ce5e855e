"""Idempotency keys, on every kind of database."""

import asyncio

import pytest
from sqlalchemy import update

from gateway.adapters.database import Database
from gateway.adapters.repeats import SqlRepeats
from gateway.adapters.tables import IDEMPOTENCY
from gateway.core.errors import GatewayError, Kind
from gateway.core.repeats import Repeat

REPEAT = Repeat(1_800_000_000, ("https://pictures.example/1.png",))


@pytest.fixture
def repeats(database: Database) -> SqlRepeats:
    return SqlRepeats(database)


async def test_a_name_is_claimed_and_told_how_it_ended(repeats: SqlRepeats) -> None:
    told = [await repeats.claim("key", "name", b"digest"), await repeats.claim("key", "name", b"digest")]
    await repeats.keep("key", "name", REPEAT)
    await repeats.keep("key", "name", Repeat(1, code="upstream_unknown"))

    assert (told, await repeats.claim("key", "name", b"digest")) == ([None, None], REPEAT)
    assert await repeats.claim("other", "name", b"another") is None


async def test_a_picture_that_came_late_takes_the_place_of_the_error(repeats: SqlRepeats) -> None:
    await repeats.claim("key", "name", b"digest")
    await repeats.keep("key", "name", Repeat(1, code="upstream_unknown", message='"urls":["'))
    await repeats.keep("key", "name", REPEAT)

    assert await repeats.claim("key", "name", b"digest") == REPEAT


async def test_another_request_under_the_same_name_is_refused(repeats: SqlRepeats) -> None:
    await repeats.claim("key", "name", b"digest")

    with pytest.raises(GatewayError) as caught:
        await repeats.claim("key", "name", b"another")

    assert caught.value.kind is Kind.IDEMPOTENCY_KEY_REUSED


async def test_many_at_once_are_one(repeats: SqlRepeats) -> None:
    digests = [bytes([number]) for number in range(20)]

    found = await asyncio.gather(*(repeats.claim("key", "name", one) for one in digests), return_exceptions=True)

    assert found.count(None) == 1


async def test_after_a_day_a_name_is_free(repeats: SqlRepeats, database: Database) -> None:
    await repeats.claim("key", "name", b"digest")
    await database.write(lambda connection: connection.execute(update(IDEMPOTENCY).values(created=1.0)))

    assert await repeats.claim("key", "name", b"another") is None
    await database.write(lambda connection: connection.execute(update(IDEMPOTENCY).values(created=1.0)))
    await repeats.forget()
    assert await database.read(lambda connection: connection.execute(IDEMPOTENCY.select()).first()) is None


async def test_a_name_stands_for_a_day_from_when_it_was_asked_for_without_an_answer(
    repeats: SqlRepeats, database: Database
) -> None:
    await repeats.claim("key", "name", b"digest")
    earlier = update(IDEMPOTENCY).values(created=IDEMPOTENCY.c.created - 86_000)
    await database.write(lambda connection: connection.execute(earlier))
    await repeats.claim("key", "name", b"digest")
    await database.write(lambda connection: connection.execute(earlier))

    with pytest.raises(GatewayError):
        await repeats.claim("key", "name", b"another")
