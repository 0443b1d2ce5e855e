"""Idempotency keys in the durable store."""

from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, select, update

from gateway.adapters.database import Database
from gateway.adapters.tables import IDEMPOTENCY, now
from gateway.adapters.upserts import insert_into
from gateway.core.ledger import REPEATED_WITHIN
from gateway.core.repeats import Repeat, reused

_I: Final = IDEMPOTENCY.c
_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder(Repeat).decode


class SqlRepeats:
    """What each key of a virtual key was first sent with, for a day."""

    def __init__(self, database: Database) -> None:
        self._database: Final = database

    async def claim(self, key: str, name: str, digest: bytes) -> Repeat | None:
        """Take a name for a request; how it ended, where it was asked before and has ended.

        Raises:
            GatewayError: `idempotency_key_reused`.
            DatabaseUnavailableError: the database is away.
        """
        found = await self._database.write(lambda connection: _claim(connection, key, name, digest))
        if found is None:
            return None
        if bytes(found.digest) != digest:
            raise reused()
        return None if found.answer is None else _DECODE(found.answer)

    async def keep(self, key: str, name: str, repeat: Repeat) -> None:
        """Note how it ended, unless that was noted before; a picture that came late is worth more than an error."""
        noted: ColumnElement[bool] = _I.answer.is_(None)
        if repeat.urls:
            noted |= _I.answer.contains('"urls":[]')
        statement = (
            update(IDEMPOTENCY).where(_I.key == key, _I.name == name, noted).values(answer=_ENCODE(repeat).decode())
        )
        await self._database.write(lambda connection: connection.execute(statement))

    async def forget(self) -> None:
        """Remove what has lapsed."""
        lapsed = delete(IDEMPOTENCY).where(_I.created < now() - REPEATED_WITHIN)
        await self._database.write(lambda connection: connection.execute(lapsed))


def _claim(connection: Connection, key: str, name: str, digest: bytes) -> Any:  # noqa: ANN401 - a row or None
    mine = (_I.key == key) & (_I.name == name)
    connection.execute(delete(IDEMPOTENCY).where(mine, _I.created < now() - REPEATED_WITHIN))
    values = {"key": key, "name": name, "digest": digest, "created": now()}
    statement = (
        insert_into(IDEMPOTENCY, connection.dialect.name).values(values).on_conflict_do_nothing().returning(_I.key)
    )
    if connection.execute(statement).first():
        return None
    # Refused at first and let in hours later, it is of then: what it pays for may not outlive its name.
    unanswered = mine & (_I.digest == digest) & _I.answer.is_(None)
    connection.execute(update(IDEMPOTENCY).where(unanswered).values(created=now()))
    return connection.execute(select(IDEMPOTENCY).where(mine)).one()
