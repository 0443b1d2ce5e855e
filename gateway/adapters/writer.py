"""The connection that writes: groups of jobs become transactions, and what goes wrong is told to whom it concerns."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, Engine

from gateway.adapters.dbapi import dbapi_connection
from gateway.ports import DatabaseUnavailableError

_SUMS: Final = "gateway.sums"

SharedWork = Callable[[Connection, list[Any]], Sequence[Any]]
"""What is done for some of a group at once: a result, or an exception to be raised, for each of them."""


class Sums(Protocol):
    """What is added up and written before a commit."""

    def write(self, connection: Connection) -> None:
        """Write it."""


S = TypeVar("S", bound=Sums)


class ApartError(Exception):
    """Something that was done for many at once went wrong for some of them: each is to be done by itself."""


@dataclass(slots=True)
class Job:
    """Work to be written for `one`, at once for all of a group that have the same.

    It may run twice: alone, when something in its group failed. `since` is the loop's time.
    """

    work: SharedWork
    one: Any
    since: float
    done: asyncio.Future[Any]


class Writer:
    """Commits groups of jobs; for one thread.

    The transactions are the driver's own, since Core's cost more than most jobs: `begin` is run on a cursor of an
    engine that leaves them alone. `judged` is asked what to tell of an error.
    """

    def __init__(
        self, engine: Engine, begin: Callable[[Any], object], judged: Callable[[Exception], Exception]
    ) -> None:
        self._engine: Final = engine
        self._begin: Final = begin
        self._judged: Final = judged
        self._connection: Connection | None = None

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
        """Let go of the connection; another is made when it is needed."""
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()

    def _transaction(self, jobs: Sequence[Job]) -> list[Any]:
        connection = self._begun()
        sums = connection.info[_SUMS] = {}
        alike: dict[SharedWork, list[int]] = {}
        for index, job in enumerate(jobs):
            alike.setdefault(job.work, []).append(index)
        results: list[Any] = [None] * len(jobs)
        for work, indices in alike.items():
            for index, result in zip(indices, work(connection, [jobs[index].one for index in indices]), strict=True):
                results[index] = result
        for one in sums.values():
            one.write(connection)
        dbapi_connection(connection).commit()
        return results

    def _begun(self) -> Connection:
        if self._connection is not None:
            try:
                self._begin(dbapi_connection(self._connection).cursor())
            except Exception as error:
                # A server that was started anew has closed it; nothing was done on it, so another serves as well.
                self._roll_back(error)
                if self._connection is not None:
                    raise
            else:
                return self._connection
        self._connection = self._engine.connect()
        self._begin(dbapi_connection(self._connection).cursor())
        return self._connection

    def _roll_back(self, error: Exception) -> None:
        """Undo what was begun, and let go of a connection that is no longer any good."""
        connection = self._connection
        if connection is not None and not self._rolled_back(connection, error):
            self._connection = None
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


def before_commit(connection: Connection, sums: Callable[[Connection], S]) -> S:
    """What the jobs of a transaction add up together: made once, and written after the last of them."""
    known: dict[object, Any] = connection.info[_SUMS]
    if sums not in known:
        known[sums] = sums(connection)
    found: S = known[sums]
    return found
