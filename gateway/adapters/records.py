"""What was done and what was drawn, to be read again: the audit and the ledger, newest first."""

from typing import Final

import orjson
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, or_, select

from gateway.adapters.database import Database
from gateway.adapters.tables import AUDIT, GENERATIONS
from gateway.core.errors import GatewayError, invalid_value
from gateway.core.pages import Json, Page, Sought, Wanted, page_of
from gateway.core.terms import told_time, usd

_MOST_DIGITS: Final = 18
_ROW: Final = GENERATIONS.c


class Records:
    """The readings. All of them may raise `DatabaseUnavailableError`."""

    def __init__(self, database: Database) -> None:
        self._database: Final = database

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
