"""Statements of SQLAlchemy Core that are run very often: compiled once for each dialect, and run by the driver itself.

Compiling is cached by Core too, but what it does around each run (parameters, contexts, results, rows) costs ten times
what SQLite does for it. What is left here is a string, the order of its parameters, and tuples that come back.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import ClauseElement
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.compiler import SQLCompiler

from gateway.adapters.writer import Transaction

Values = Mapping[str, Any]
Rows = Sequence[Sequence[Any]]

# Parameters by their position: tuples are bound faster than names.
_DIALECTS: Final[dict[str, Callable[[], Any]]] = {
    "sqlite": lambda: sqlite.dialect(paramstyle="qmark"),
    "postgresql": lambda: cast("Any", postgresql.psycopg.dialect)(paramstyle="format"),
}


class _Compiled(NamedTuple):
    sql: str
    constants: dict[str, Any]
    ordered: Callable[[Values], Any]


class Prepared:
    """A statement with named `bindparam`s, whose values the drivers understand as they are.

    The driver's own errors come out of it.
    """

    def __init__(self, of: Callable[[str], ClauseElement]) -> None:
        self._compiled: Final = cache(lambda dialect: _compile(of(dialect), _dialect(dialect)))

    def rows(self, transaction: Transaction, values: Values) -> Rows:
        """Run a query."""
        cursor, compiled = transaction.cursor, self._compiled(transaction.dialect)
        cursor.execute(compiled.sql, compiled.ordered({**compiled.constants, **values}))
        return cursor.fetchall()

    def change(self, transaction: Transaction, many: Iterable[Values]) -> int:
        """Insert, update or delete once for each of many values; how many rows that changed in all."""
        cursor, compiled = transaction.cursor, self._compiled(transaction.dialect)
        ordered, constants = compiled.ordered, compiled.constants
        rows = [*map(ordered, [{**constants, **values} for values in many] if constants else many)]
        if len(rows) == 1:
            cursor.execute(compiled.sql, rows[0])  # without a pipeline to PostgreSQL
        else:
            cursor.executemany(compiled.sql, rows)
        changed: int = cursor.rowcount
        return changed


def prepared(statement: ClauseElement) -> Prepared:
    """A statement that is the same in all dialects."""
    return Prepared(lambda _dialect: statement)


def _compile(statement: ClauseElement, dialect: Any) -> _Compiled:  # noqa: ANN401 - two classes of the same form
    compiled = cast("SQLCompiler", statement.compile(dialect=dialect))
    names = compiled.positiontup or []
    given = {name for name, bound in compiled.binds.items() if bound.required}
    constants = {name: value for name, value in compiled.params.items() if name not in given}
    # Of no name `itemgetter` cannot be made, and of one alone it makes no tuple.
    ordered = itemgetter(*names) if len(names) > 1 else lambda values: tuple(values[name] for name in names)
    return _Compiled(compiled.string, constants, ordered)


@cache
def _dialect(name: str) -> Any:  # noqa: ANN401 - two classes of the same form
    return _DIALECTS[name]()
