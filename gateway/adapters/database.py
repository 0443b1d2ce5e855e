"""The durable store: SQLite in the data folder, or a PostgreSQL that a fleet shares.

One writer a process. What is written while a commit is under way shares the next one, so that many flights cost few
commits; writers of all processes take turns, on both databases, so that a transaction may look before it writes.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DatabaseError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from gateway.flights import hear
from gateway.ports import DatabaseUnavailableError

T = TypeVar("T")

# How long a caller waits for the database before it is told that there is none; SQLite's own wait for a lock is
# shorter, so that it is the database that says so.
PATIENCE: Final = 3.0
_LOCK_WAIT_MS: Final = 2000
_MOST_TOGETHER: Final = 256
# Any number will do, as long as every gateway takes the same: "302" and "gw" on a keypad.
_WRITERS_LOCK: Final = 30249
# PostgreSQL's undefined_table.
_NO_SUCH_TABLE: Final = "42P01"
# Within how many seconds a database that is well says so, and for how long that is believed.
_WELL_WITHIN: Final = 0.2
_BELIEVED: Final = 1.0

_SUMS: Final = "gateway.sums"

Work = Callable[[Connection], T]


class Sums(Protocol):
    """What is added up and written before a commit."""

    def write(self, connection: Connection) -> None:
        """Write it."""


S = TypeVar("S", bound=Sums)


@dataclass(slots=True)
class _Job:
    """Work to be written. It may run twice: alone, when something in its group failed."""

    work: Work[Any]
    done: asyncio.Future[Any]


class Database:
    """Runs transactions off the event loop."""

    def __init__(self, url: str, on_error: Callable[[], None]) -> None:
        self._on_error: Final = on_error
        self._writing: Final = open_engine(url, writes=True)
        self._reading: Final = open_engine(url, writes=False)
        self._writer: Final = ThreadPoolExecutor(1, "database-writer")
        self._readers: Final = ThreadPoolExecutor(2, "database-reader")
        self._jobs: list[_Job] = []
        self._turn: asyncio.Task[None] | None = None
        self._since = 0.0
        self._well: asyncio.Task[bool] | None = None
        self._asked = -_BELIEVED

    async def write(self, work: Work[T]) -> T:
        """Run work in a transaction that it shares with others, and return when it is committed.

        Work may be run twice, so all it does must be on the connection. An exception of its own rolls back what it
        did, and only that.

        Raises:
            DatabaseUnavailableError: not committed within three seconds; it may still be.
        """
        loop = asyncio.get_running_loop()
        if self._turn is not None and loop.time() - self._since > PATIENCE:
            raise DatabaseUnavailableError
        job = _Job(work, loop.create_future())
        self._jobs.append(job)
        if self._turn is None:
            self._since = loop.time()
            self._turn = loop.create_task(self._take_turns(loop))
        done: T = await self._in_time(job.done)
        return done

    async def read(self, work: Work[T]) -> T:
        """Run work that only reads.

        Raises:
            DatabaseUnavailableError: no answer within three seconds.
        """
        loop = asyncio.get_running_loop()
        found: T = await self._in_time(loop.run_in_executor(self._readers, self._read, work))
        return found

    async def answers(self) -> bool:
        """Whether the database answers at once; asked at most once a second, however often this is."""
        loop = asyncio.get_running_loop()
        if self._well is None or loop.time() - self._asked >= _BELIEVED:
            self._asked, self._well = loop.time(), loop.create_task(self._answers())
        return await asyncio.shield(self._well)

    async def _answers(self) -> bool:
        asked = asyncio.get_running_loop().create_task(
            self.read(lambda connection: connection.scalar(text("SELECT 1")))
        )
        asked.add_done_callback(hear)
        done, _ = await asyncio.wait((asked,), timeout=_WELL_WITHIN)
        return bool(done) and asked.exception() is None

    async def aclose(self) -> None:
        """Finish what was begun, and let go of all connections."""
        while self._turn is not None:
            await asyncio.wait((self._turn,))
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for executor, engine in ((self._writer, self._writing), (self._readers, self._reading)):
            executor.shutdown()
            engine.dispose()

    async def _in_time(self, future: asyncio.Future[Any]) -> Any:  # noqa: ANN401 - whatever the work returns
        # Shielded: what was handed to a thread goes on there, and a late answer must find its future.
        done, _ = await asyncio.wait((future,), timeout=PATIENCE)
        if not done:
            future.add_done_callback(hear)
            self._on_error()
            raise DatabaseUnavailableError
        return future.result()

    async def _take_turns(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while self._jobs:
                jobs, self._jobs = self._jobs[:_MOST_TOGETHER], self._jobs[_MOST_TOGETHER:]
                self._since = loop.time()
                results = await loop.run_in_executor(self._writer, self._commit, jobs)
                for job, result in zip(jobs, results, strict=True):
                    if job.done.done():
                        continue
                    if isinstance(result, BaseException):
                        job.done.set_exception(result)
                    else:
                        job.done.set_result(result)
        finally:
            self._turn = None

    def _commit(self, jobs: list[_Job]) -> list[Any]:
        try:
            return self._transaction(jobs)
        except Exception as error:  # noqa: BLE001 - told to those who wait
            if len(jobs) > 1 and not is_away(error):
                # One of them failed and took the others with it: each for itself.
                return [result for job in jobs for result in self._commit([job])]
            return [self._judged(error)] * len(jobs)

    def _transaction(self, jobs: list[_Job]) -> list[Any]:
        with self._writing.begin() as connection:
            sums = connection.info[_SUMS] = {}
            results = [job.work(connection) for job in jobs]
            for one in sums.values():
                one.write(connection)
            return results

    def _read(self, work: Work[T]) -> T:
        try:
            with self._reading.connect() as connection:
                return work(connection)
        except Exception as error:
            raise self._judged(error) from error

    def _judged(self, error: Exception) -> Exception:
        if not is_away(error):
            return error
        self._on_error()
        unavailable = DatabaseUnavailableError(str(getattr(error, "orig", error)))
        unavailable.__cause__ = error
        return unavailable


def before_commit(connection: Connection, sums: Callable[[Connection], S]) -> S:
    """What the jobs of a transaction add up together: made once, and written after the last of them."""
    known: dict[object, Any] = connection.info[_SUMS]
    if sums not in known:
        known[sums] = sums(connection)
    found: S = known[sums]
    return found


def is_away(error: Exception) -> bool:
    """Whether it is the database that failed: locked, gone, full or broken. Anything else is a fault of the work."""
    if getattr(getattr(error, "orig", None), "sqlstate", None) == _NO_SUCH_TABLE:
        return True  # it was away when we started, and is not migrated yet
    away = isinstance(error, (OperationalError, InterfaceError, InternalError, PoolTimeoutError))
    return away or type(error) is DatabaseError


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL; None for another database."""
    parsed = make_url(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def open_engine(url: str, *, writes: bool, patience_ms: int = _LOCK_WAIT_MS) -> Engine:
    """Connections to a database. One that writes begins each transaction as the only writer of all processes."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(parsed, connect_args={"timeout": patience_ms / 1000, "check_same_thread": False})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_immediate if writes else _begin)
        return engine
    parsed = parsed.set(drivername="postgresql+psycopg")
    options = f"-c lock_timeout={patience_ms} -c statement_timeout={patience_ms}"
    arguments = {"connect_timeout": 2, "options": options, "application_name": "gateway302"}
    engine = create_engine(parsed, connect_args=arguments, pool_size=2, pool_pre_ping=True)
    if writes:
        event.listen(engine, "begin", _take_the_writers_lock)
    return engine


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
    # A server or a role may be set to tell of commits before they are on disk: what is paid would not outlive a crash.
    durable = (
        "CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', true) END"
    )
    connection.execute(text(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK}), {durable}"))
