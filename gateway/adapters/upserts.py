"""Inserts that know what to do about rows that are there: each dialect writes them in its own way."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, Insert, Table
from sqlalchemy.dialects import postgresql, sqlite

_INSERTS: Final = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def insert_into(table: Table, dialect: str) -> Any:  # noqa: ANN401 - two classes of the same form
    """An insert, in the words of a dialect that a connection names."""
    return _INSERTS[dialect](table)


def add(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], sums: tuple[str, ...]) -> None:
    """Add to the sums of rows, which are made where they are missing."""
    connection.execute(_adding(table, connection.dialect.name, sums), rows)


@cache
def _adding(table: Table, dialect: str, sums: tuple[str, ...]) -> Insert:
    # Built once: building costs more than running.
    upsert = insert_into(table, dialect)
    added = {name: table.c[name] + upsert.excluded[name] for name in sums}
    statement: Insert = upsert.on_conflict_do_update(index_elements=list(table.primary_key), set_=added)
    return statement
