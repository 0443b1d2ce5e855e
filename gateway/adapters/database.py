"""The durable store: SQLite in the data folder, or a PostgreSQL that a fleet shares.

One writer a process. What is written while a commit is under way shares the next one, so that many flights cost few
commits; writers of all processes take turns, on both databases, so that a transaction may look before it writes.
"""

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from gateway.adapters.commit_delay import CommitDelay
from gateway.adapters.writer import Job, Writer
from gateway.flights import hear
from gateway.ports import DatabaseUnavailableError

A = TypeVar("A")
T = TypeVar("T")

# How many seconds a caller waits for the database before it is told that there is none; SQLite's own wait for a lock is
# shorter, so that it is the database that says so.
PATIENCE: Final = 3.0
_LOCK_WAIT_MS: Final = 2000
_MOST_TOGETHER: Final = 256
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
# Within how many seconds a database that is well says so, and for how long that is believed.
_WELL_WITHIN: Final = 0.2
_BELIEVED: Final = 1.0

Work = Callable[[Connection], T]


class Database:
    """Runs transactions off the event loop, which is always that of its first write."""

    def __init__(self, url: str, on_error: Callable[[], None]) -> None:
        self._on_error: Final = on_error
        self._writer: Final = _open_writer(url, self._judged)
        self._groups: Final[SimpleQueue[list[Job]]] = SimpleQueue()
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._jobs: list[Job] = []
        self._delay: Final = CommitDelay(self._hand_over)
        self._waiting: Final[deque[Job]] = deque()
        self._is_stuck = False
        self._alarm: asyncio.TimerHandle | None = None
        self._over: asyncio.Future[None] | None = None
        self._reading: Final = open_engine(url, writes=False)
        self._readers: Final = ThreadPoolExecutor(2, "database-reader")
        self._well: asyncio.Task[bool] | None = None
        self._asked = -_BELIEVED

    async def write(self, work: Work[T]) -> T:
        """Run work in a transaction that it shares with others, and return when it is committed.

        Work may be run twice, so all it does must be on the connection. An exception of its own rolls back what it
        did, and only that.

        Raises:
            DatabaseUnavailableError: not committed within three seconds; it may still be.
        """
        return await self.write_each(lambda connection, _: [work(connection)], None)

    async def write_each(self, work: Callable[[Connection, list[A]], Sequence[T | Exception]], one: A) -> T:
        """Run work once for all that a transaction has of it, in the place of the first.

        It has a result for each, or an exception that is raised, which rolls nothing back. Where something fails, it
        is run again for each alone.

        Raises:
            DatabaseUnavailableError: not committed within three seconds; it may still be.
        """
        if self._is_stuck:
            raise DatabaseUnavailableError
        loop = self._loop = self._loop or asyncio.get_running_loop()  # kept: Python 3.11 makes a system call to find it
        job = Job(work, one, loop.time(), loop.create_future())
        self._jobs.append(job)
        self._waiting.append(job)
        self._delay.came(loop)
        if self._alarm is None:
            self._alarm = loop.call_later(PATIENCE, self._tell_the_late, loop)
        # What was handed to the thread goes on there, whether somebody waits for it or not.
        done: T = await job.done
        return done

    async def read(self, work: Work[T]) -> T:
        """Run work that only reads.

        Raises:
            DatabaseUnavailableError: no answer within three seconds.
        """
        loop = asyncio.get_running_loop()
        answer = loop.run_in_executor(self._readers, self._read, work)
        # Shielded: a late answer must find its future.
        done, _ = await asyncio.wait((answer,), timeout=PATIENCE)
        if not done:
            answer.add_done_callback(hear)
            self._on_error()
            raise DatabaseUnavailableError
        return answer.result()

    async def answers(self) -> bool:
        """Whether the database answers at once; asked at most once a second, however often this is."""
        loop = asyncio.get_running_loop()
        if self._well is None or loop.time() - self._asked >= _BELIEVED:
            self._asked, self._well = loop.time(), loop.create_task(self._answers())
        return await asyncio.shield(self._well)

    async def aclose(self) -> None:
        """Finish what was begun, and let go of all connections."""
        while self._waiting:
            self._over = asyncio.get_running_loop().create_future()
            await self._over
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        await asyncio.to_thread(self._close)

    async def _answers(self) -> bool:
        asked = asyncio.get_running_loop().create_task(
            self.read(lambda connection: connection.scalar(text("SELECT 1")))
        )
        asked.add_done_callback(hear)
        done, _ = await asyncio.wait((asked,), timeout=_WELL_WITHIN)
        return bool(done) and asked.exception() is None

    def _close(self) -> None:
        if self._thread is not None:
            self._groups.put([])  # nothing more to do
            self._thread.join()
        self._writer.close()
        self._readers.shutdown()
        self._reading.dispose()

    def _hand_over(self) -> None:
        if self._thread is None:
            # A daemon: what ends without closing its database must not wait for it for ever.
            self._thread = Thread(target=self._take_turns, args=(self._loop,), name="database-writer", daemon=True)
            self._thread.start()
        jobs, self._jobs = self._jobs, []
        for start in range(0, len(jobs), _MOST_TOGETHER):
            self._groups.put(jobs[start : start + _MOST_TOGETHER])

    def _take_turns(self, loop: asyncio.AbstractEventLoop) -> None:
        is_over = False
        while not is_over and (jobs := self._groups.get()):
            # What came while the last commit was under way shares this one.
            while len(jobs) < _MOST_TOGETHER and not is_over and not self._groups.empty():
                more = self._groups.get()
                jobs += more
                is_over = not more
            results = self._writer.commit(jobs)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                loop.call_soon_threadsafe(self._tell, jobs, results)

    def _tell(self, jobs: list[Job], results: list[Any]) -> None:
        self._is_stuck = False
        self._delay.shared(len(jobs))
        for job, result in zip(jobs, results, strict=True):
            self._waiting.popleft()
            if job.done.done():
                continue
            if isinstance(result, Exception):
                job.done.set_exception(result)
            else:
                job.done.set_result(result)
        if self._over is not None and not self._waiting:
            self._over.set_result(None)
            self._over = None

    def _tell_the_late(self, loop: asyncio.AbstractEventLoop) -> None:
        self._alarm = None
        for job in self._waiting:
            if job.since + PATIENCE > loop.time():
                self._alarm = loop.call_at(job.since + PATIENCE, self._tell_the_late, loop)
                return
            self._is_stuck = True
            if not job.done.done():
                self._on_error()
                job.done.set_exception(DatabaseUnavailableError())

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


def _open_writer(url: str, judged: Callable[[Exception], Exception]) -> Writer:
    engine = _engine(url, _LOCK_WAIT_MS, isolation_level="AUTOCOMMIT")
    return Writer(engine, _BEGINS[engine.dialect.name], judged)


# In one trip to the server, which only the unprepared can be.
_BEGINS: Final[dict[str, Callable[[Any], object]]] = {
    "sqlite": lambda cursor: cursor.execute("BEGIN IMMEDIATE"),
    "postgresql": lambda cursor: cursor.execute(f"BEGIN; {_TAKE_THE_WRITERS_LOCK}", prepare=False),
}


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
