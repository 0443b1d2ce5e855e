"""The connection that writes: groups of jobs become transactions, and what goes wrong is told to whom it concerns."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar, cast

import msgspec
from sqlalchemy import Connection, Engine
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor

from gateway.adapters.engines import Transacting
from gateway.ports import DatabaseUnavailableError


class Sums(Protocol):
    """What is added up and written before a commit."""

    def write(self) -> None:
        """Write it."""


class Transaction(msgspec.Struct):
    """What jobs write with: Core's connection or, for what runs with every paid call, a cursor of the driver's.

    Core asks its pool for the driver's connection each time, which costs more than some statements; here it is at hand.
    The same serves one transaction after the other on its connection; `sums` is emptied before each.
    """

    connection: Connection
    cursor: DBAPICursor
    dialect: str
    sums: dict[object, Any]


SharedWork = Callable[[Transaction, list[Any]], Sequence[Any]]
"""What is done for some of a group at once: a result, or an exception to be raised, for each of them."""
S = TypeVar("S", bound=Sums)


class ApartError(Exception):
    """Something that was done for many at once went wrong for some of them: each is to be done by itself."""


class Job(msgspec.Struct):
    """Work to be written for `one`, at once for all of a group that have the same.

    It may run twice: alone, when something in its group failed. `since` is the loop's time.
    """

    work: SharedWork
    one: Any
    since: float
    done: asyncio.Future[Any]


class Writer:
    """Commits groups of jobs; for one thread.

    The transactions are the driver's own, since Core's cost more than most jobs: `transacting` begins and commits them,
    and `engine` leaves them alone. `judged` is asked what to tell of an error.
    """

    def __init__(self, engine: Engine, transacting: Transacting, judged: Callable[[Exception], Exception]) -> None:
        self._engine: Final = engine
        self._transacting: Final = transacting
        self._judged: Final = judged
        self._last: Transaction | None = None
        """That of the connection which is open."""

    def commit(self, jobs: Sequence[Job]) -> list[Any]:
        """Run jobs in a transaction, and commit it; the result of each, or the exception that it is to be told."""
        try:
            return self._transaction(jobs)
        except Exception as error:  # noqa: BLE001 - told to those who wait
            self._roll_back(error)
            told = self._judged(error)
            if len(jobs) > 1 and not isinstance(told, DatabaseUnavailableError):
                # One of them failed and took the others with it: each for itself.
                return [result for job in jobs for result in self.commit([job])]
            return [told] * len(jobs)

    def close(self) -> None:
        """Let go of the connection."""
        if self._last is not None:
            self._last.connection.close()
            self._last = None
        self._engine.dispose()

    def _transaction(self, jobs: Sequence[Job]) -> list[Any]:
        transaction = self._begun()
        alike: dict[SharedWork, list[int]] = {}
        for index, job in enumerate(jobs):
            alike.setdefault(job.work, []).append(index)
        results: list[Any] = [None] * len(jobs)
        for work, indices in alike.items():
            for index, result in zip(indices, work(transaction, [jobs[index].one for index in indices]), strict=True):
                results[index] = result
        for one in transaction.sums.values():
            one.write()
        self._transacting.commit(transaction.cursor)
        return results

    def _begun(self) -> Transaction:
        if self._last is not None:
            try:
                self._transacting.begin(self._last.cursor)
            except Exception as error:
                # A server that was started anew has closed it; nothing was done on it, so another serves as well.
                self._roll_back(error)
                if self._last is not None:
                    raise
            else:
                self._last.sums.clear()
                return self._last
        connection = self._engine.connect()
        driver = cast("DBAPIConnection", connection.connection.dbapi_connection)  # None only where it was invalidated
        self._last = Transaction(connection, driver.cursor(), connection.dialect.name, {})
        self._transacting.begin(self._last.cursor)
        return self._last

    def _roll_back(self, error: Exception) -> None:
        """Undo what was begun, and let go of a connection that is no longer any good."""
        if self._last is not None and not self._rolled_back(connection := self._last.connection, error):
            self._last = None
            connection.invalidate()
            connection.close()

    def _rolled_back(self, connection: Connection, error: Any) -> bool:  # noqa: ANN401 - Core's error or the driver's
        if connection.invalidated:
            return False
        pooled = connection.connection
        if self._engine.dialect.is_disconnect(getattr(error, "orig", error), pooled.dbapi_connection, None):
            return False
        try:
            pooled.rollback()
        except Exception:  # noqa: BLE001 - who waits is told of the error before
            return False
        return True


def before_commit(transaction: Transaction, sums: Callable[[Transaction], S]) -> S:
    """What the jobs of a transaction add up together: made once, and written after the last of them."""
    known = transaction.sums
    if sums not in known:
        known[sums] = sums(transaction)
    found: S = known[sums]
    return found
