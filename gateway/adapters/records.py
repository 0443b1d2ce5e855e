"""What was done and what was drawn, to be read again: the audit and the ledger, newest first.

One thing is written here: what a person says of an outcome that nobody else can know.
"""

from collections.abc import Mapping
from typing import Final

import orjson
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, or_, select

from gateway.adapters.database import Database
from gateway.adapters.money import COLUMNS, correct, generation_of
from gateway.adapters.rows import Change, one, write_down
from gateway.adapters.tables import AUDIT, GENERATIONS
from gateway.adapters.writer import Transaction
from gateway.core.errors import GatewayError, Kind, invalid_value
from gateway.core.ledger import State
from gateway.core.pages import Json, Page, Sought, Wanted, page_of
from gateway.core.terms import read_cost, told_time, usd
from gateway.ports import Clock

_MOST_DIGITS: Final = 18
_ROW: Final = GENERATIONS.c


class Records:
    """Readings, and the settling of unknown outcomes. All may raise `DatabaseUnavailableError`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database: Final = database
        self._clock: Final = clock

    async def audit(self, wanted: Wanted) -> Page:
        """Changes of teams and keys. Raises GatewayError: `invalid_value`."""
        query = select(AUDIT).order_by(AUDIT.c.id.desc()).limit(wanted.limit + 1)
        if wanted.after is not None:
            if not (wanted.after.isascii() and wanted.after.isdigit() and len(wanted.after) <= _MOST_DIGITS):
                raise _no_cursor()
            query = query.where(AUDIT.c.id < int(wanted.after))

        def work(connection: Connection) -> Page:
            rows = connection.execute(query).mappings()
            return page_of([_told_change(row) for row in rows], wanted, "id")

        return await self._database.read(work)

    async def generations(self, wanted: Wanted, sought: Sought) -> Page:
        """The ledger's rows that are sought. Raises GatewayError: `invalid_value`."""

        def work(connection: Connection) -> Page:
            query = _seek(sought)
            if wanted.after is not None:
                query = query.where(_beyond(connection, wanted.after))
            rows = connection.execute(query.limit(wanted.limit + 1)).mappings()
            return page_of([_told_generation(row) for row in rows], wanted, "id")

        return await self._database.read(work)

    async def generation(self, id_: str) -> Json:
        """One row of the ledger. Raises GatewayError: `not_found`."""
        return await self._database.read(lambda connection: _told_generation(_row(connection, id_)))

    async def settle(self, actor: str, id_: str, data: Mapping[str, object]) -> Json:
        """End an unknown outcome by its `cost`, as a person found it: what it held is let go, what it cost is spent.

        Raises:
            GatewayError: what is wrong with the cost, `not_found`, `conflict`.
        """
        now, cost = self._clock.now(), read_cost(data)

        def work(transaction: Transaction) -> Json:
            connection = transaction.connection
            before = _row(connection, id_)
            row = generation_of(connection.execute(select(*COLUMNS).where(_ROW.id == id_)).one())
            if row.state is not State.UNKNOWN or not correct(transaction, row, cost):
                message = f"The generation {id_} is {row.state}; only one that is unknown can be settled."
                raise GatewayError(Kind.CONFLICT, message)
            after = _told_generation(_row(connection, id_))
            change = Change(f"generation:{id_}", _told_generation(before), after)
            write_down(connection, now, actor, "generation.settle", change)
            return after

        return await self._database.transact(work)


def _row(connection: Connection, id_: str) -> RowMapping:
    if (row := one(connection, GENERATIONS, "id", id_)) is None:
        raise GatewayError(Kind.NOT_FOUND, f"There is no generation {id_[:63]!r}.")
    return row


def _seek(sought: Sought) -> Select[tuple[object, ...]]:
    query = select(GENERATIONS).order_by(_ROW.created.desc(), _ROW.id.desc())
    for name in ("team", "key", "state", "model"):
        if (value := getattr(sought, name)) is not None:
            query = query.where(_ROW[name] == value)
    if sought.since is not None:
        query = query.where(_ROW.created >= sought.since)
    if sought.until is not None:
        query = query.where(_ROW.created < sought.until)
    return query


def _beyond(connection: Connection, after: str) -> ColumnElement[bool]:
    created = connection.scalar(select(_ROW.created).where(_ROW.id == after))
    if created is None:
        raise _no_cursor()
    return or_(_ROW.created < created, and_(_ROW.created == created, _ROW.id < after))


def _no_cursor() -> GatewayError:
    return invalid_value("after", "after must be the `next` of an earlier answer.")


def _told_change(row: RowMapping) -> Json:
    return {
        "object": "audit.change",
        "id": row["id"],
        "at": told_time(row["at"]),
        **{name: row[name] for name in ("actor", "action", "target")},
        **{name: None if row[name] is None else orjson.loads(row[name]) for name in ("before", "after")},
    }


def _told_generation(row: RowMapping) -> Json:
    """Without its URL: whoever has that has the picture."""
    names = ("id", "team", "key", "model", "state", "fingerprint", "upstream_key", "request_id", "error_code")
    return {
        "object": "generation",
        **{name: row[name] for name in names},
        **{name: usd(row[name]) for name in ("reserved", "actual")},
        **{name: told_time(row[name]) for name in ("created", "sent", "finished")},
    }
