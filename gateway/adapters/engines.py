"""Connections to the database of a URL, SQLite or PostgreSQL, and what their errors mean."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

_LOCK_WAIT_MS: Final = 2000
# A server whose machine or network is gone says nothing, and the kernel would wait for quarter of an hour. In seconds,
# the last one in milliseconds; a URL may have others.
_TCP: Final = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
# Any number will do, as long as every gateway takes the same: "302" and "gw" on a keypad.
_WRITERS_LOCK: Final = 30249
# A server or a role may be set to tell of commits before they are on disk: what is paid would not outlive a crash.
_TAKE_THE_WRITERS_LOCK: Final = (
    f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK}), "
    "CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', true) END"
)
# PostgreSQL's undefined_table.
_NO_SUCH_TABLE: Final = "42P01"
# PEP 249 names errors the same in every driver, and SQLAlchemy names its own after them.
_AWAY: Final = frozenset({"OperationalError", "InterfaceError", "InternalError", "DatabaseError"})
_KINDS: Final = _AWAY | {"DataError", "IntegrityError", "NotSupportedError", "ProgrammingError"}


def is_away(error: Exception) -> bool:
    """Whether it is the database that failed: locked, gone, full or broken. Anything else is a fault of the work."""
    if getattr(getattr(error, "orig", error), "sqlstate", None) == _NO_SUCH_TABLE:
        return True  # it was away when we started, and is not migrated yet
    kind = next((one.__name__ for one in type(error).__mro__ if one.__name__ in _KINDS), None)
    return kind in _AWAY or isinstance(error, PoolTimeoutError)


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL; None for another database."""
    parsed = make_url(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def open_engine(url: str, *, writes: bool, patience_ms: int = _LOCK_WAIT_MS) -> Engine:
    """Connections to a database. One that writes begins each transaction as the only writer of all processes."""
    engine = _engine(url, patience_ms)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "begin", _begin_immediate if writes else _begin)
    elif writes:
        event.listen(engine, "begin", _take_the_writers_lock)
    return engine


def open_autocommit(url: str) -> Engine:
    """Connections that leave transactions to the driver: `TRANSACTING` has what begins one."""
    return _engine(url, _LOCK_WAIT_MS, isolation_level="AUTOCOMMIT")


class Transacting(NamedTuple):
    """What begins a transaction as the only writer of all processes, and what commits it, on a cursor of the driver."""

    begin: Callable[[Any], object]
    commit: Callable[[Any], object]


TRANSACTING: Final[dict[str, Transacting]] = {
    # Not `commit` of the driver, which compiles that statement anew each time.
    "sqlite": Transacting(
        lambda cursor: cursor.execute("BEGIN IMMEDIATE"),
        lambda cursor: cursor.execute("COMMIT"),
    ),
    # The lock is taken in one trip to the server, which only the unprepared can be.
    "postgresql": Transacting(
        lambda cursor: cursor.execute(f"BEGIN; {_TAKE_THE_WRITERS_LOCK}", prepare=False),
        lambda cursor: cursor.connection.commit(),
    ),
}
"""By dialect, for connections of `open_autocommit`."""


def _engine(url: str, patience_ms: int, **options: Any) -> Engine:  # noqa: ANN401 - as `create_engine` takes them
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        arguments: dict[str, Any] = {"timeout": patience_ms / 1000, "check_same_thread": False}
        engine = create_engine(parsed, connect_args=arguments, **options)
        # The driver binds them by itself, but only after it looked for a form of their own, with two exceptions each.
        sqlite3.register_adapter(type(None), lambda none: none)
        sqlite3.register_adapter(bool, int)
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    parsed = parsed.set(drivername="postgresql+psycopg")
    settings = f"-c lock_timeout={patience_ms} -c statement_timeout={patience_ms}"
    arguments = {"connect_timeout": 2, "options": settings, "application_name": "gateway302"}
    arguments |= {name: value for name, value in _TCP.items() if name not in parsed.query}
    return create_engine(parsed, connect_args=arguments, pool_size=2, pool_pre_ping=True, **options)


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - SQLAlchemy's own
    # The driver must not begin transactions by itself: it would do so late, and not for reading.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _take_the_writers_lock(connection: Connection) -> None:
    connection.execute(text(_TAKE_THE_WRITERS_LOCK))
