"""Inserts that know what to do about rows that are there: each dialect writes them in its own way."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import Insert, Table, bindparam
from sqlalchemy.dialects import postgresql, sqlite

from gateway.adapters.prepared import Prepared
from gateway.adapters.writer import Transaction

_INSERTS: Final = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def insert_into(table: Table, dialect: str) -> Any:  # noqa: ANN401 - two classes of the same form
    """An insert, in the words of a dialect that a connection names."""
    return _INSERTS[dialect](table)


def add(transaction: Transaction, table: Table, rows: Sequence[Mapping[str, Any]], sums: tuple[str, ...]) -> None:
    """Add to the sums of rows, which are made where they are missing, with nothing in their other sums."""
    _adding(table, sums).change(transaction, rows)


@cache
def _adding(table: Table, sums: tuple[str, ...]) -> Prepared:
    def statement(dialect: str) -> Insert:
        wanted: dict[str, Any] = {column.name: bindparam(column.name) for column in table.primary_key}
        wanted |= {name: bindparam(name) for name in sums}
        others = {column.name: 0 for column in table.c if column.name not in wanted}
        upsert = insert_into(table, dialect).values({**others, **wanted})
        added = {name: table.c[name] + upsert.excluded[name] for name in sums}
        made: Insert = upsert.on_conflict_do_update(index_elements=list(table.primary_key), set_=added)
        return made

    return Prepared(statement)
