"""The durable store: SQLite in the data folder, or a PostgreSQL that a fleet shares.

One writer a process. What is written while a commit is under way shares the next one, so that many flights cost few
commits; writers of all processes take turns, on both databases, so that a transaction may look before it writes.
"""

import asyncio
import contextlib
import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, text

from gateway.adapters.commit_delay import CommitDelay
from gateway.adapters.engines import TRANSACTING, is_away, open_autocommit, open_engine
from gateway.adapters.sockets import Sockets
from gateway.adapters.writer import Job, Transaction, Writer
from gateway.flights import hear
from gateway.ports import DatabaseUnavailableError

A = TypeVar("A")
T = TypeVar("T")

# How many seconds a caller waits for the database before it is told that there is none; SQLite's own wait for a lock is
# shorter, so that it is the database that says so.
PATIENCE: Final = 3.0
# How many seconds a connection may be silent. A server that is well ends whatever takes it longer than two.
SILENCE: Final = 10.0
_MOST_TOGETHER: Final = 256
# Within how many seconds a database that is well says so, and for how long that is believed.
_WELL_WITHIN: Final = 0.2
_BELIEVED: Final = 1.0

Work = Callable[[Connection], T]


class Database:
    """Runs transactions off the event loop, which is always that of its first write."""

    def __init__(self, url: str, on_error: Callable[[], None]) -> None:
        self._on_error: Final = on_error
        writing = open_autocommit(url)
        self._written: Final = Sockets(writing)
        self._writer: Final = Writer(writing, TRANSACTING[writing.dialect.name], self._judged)
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
        self._read_from: Final = Sockets(self._reading)
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
        return await self.transact(lambda transaction: work(transaction.connection))

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        """As `write`, for what uses more of the transaction than Core's connection."""
        return await self.write_each(lambda transaction, _: [work(transaction)], None)

    async def write_each(self, work: Callable[[Transaction, list[A]], Sequence[T | Exception]], one: A) -> T:
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
            loop.call_later(SILENCE - PATIENCE, self._stop_reading, answer)
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
        """Finish what was begun, and let go of all connections; one that is silent is not waited for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SILENCE):
                while self._waiting:
                    self._over = asyncio.get_running_loop().create_future()
                    await self._over
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        closing = asyncio.get_running_loop().create_task(asyncio.to_thread(self._close))
        await asyncio.wait((closing,), timeout=PATIENCE)
        if not closing.done():
            self._written.shut()
            self._read_from.shut()
        await closing

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
            self._thread.join(SILENCE)
            if self._thread.is_alive():
                return  # what it works on is not closed under it: a disk that does not answer cannot be shut
        self._writer.close()
        self._readers.shutdown()
        self._reading.dispose()

    def _hand_over(self) -> None:
        if self._thread is None:
            # A daemon: what ends without closing its database must not wait for it for ever.
            thread = Thread(target=self._take_turns, args=(self._loop,), name="database-writer", daemon=True)
            thread.start()
            self._thread = thread
        jobs, self._jobs = self._jobs, []
        for start in range(0, len(jobs), _MOST_TOGETHER):
            self._groups.put(jobs[start : start + _MOST_TOGETHER])

    def _take_turns(self, loop: asyncio.AbstractEventLoop) -> None:
        _do_not_preempt()
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
        if self._over is not None and not self._over.done() and not self._waiting:
            self._over.set_result(None)
            self._over = None

    def _tell_the_late(self, loop: asyncio.AbstractEventLoop) -> None:
        self._alarm = None
        for job in self._waiting:
            if job.since + PATIENCE > loop.time():
                self._alarm = loop.call_at(job.since + PATIENCE, self._tell_the_late, loop)
                return
            if not self._is_stuck:
                self._is_stuck = True
                loop.call_at(job.since + SILENCE, self._stop_writing, loop, job)
            if not job.done.done():
                self._on_error()
                job.done.set_exception(DatabaseUnavailableError())

    def _stop_writing(self, loop: asyncio.AbstractEventLoop, job: Job) -> None:
        if self._waiting and self._waiting[0] is job:
            self._written.shut()
            loop.call_later(SILENCE, self._stop_writing, loop, job)

    def _stop_reading(self, answer: asyncio.Future[Any]) -> None:
        if not answer.done():
            self._read_from.shut()

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


def _do_not_preempt() -> None:
    """Let this thread, when it is woken, not take the CPU from the event loop, which holds the GIL."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # seccomp may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
