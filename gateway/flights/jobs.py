"""The life of jobs: done by the engine, done again by another worker when theirs dies, and told to their webhooks.

Doing a job again is safe: the ledger knows its pictures by the job's attempt, so what was paid is joined or found. What
a job is made of is handed in as a coroutine; nothing here knows the pipeline.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from gateway.core.errors import GatewayError, Kind, internal_error
from gateway.core.jobs import Ended, Job, Receipt, announcement, failed
from gateway.core.limits import LEASE
from gateway.flights.errands import Errands
from gateway.ports import DatabaseUnavailableError, Observer
from gateway.ports.jobs import Jobs, Webhooks

Again = Callable[[Job], Awaitable[Ended]]

PAUSES: Final = (0.0, 1.0, 5.0, 30.0, 120.0, 600.0)
"""Seconds before each call of a webhook, until one is answered."""
_LOOK_EVERY: Final = LEASE / 3
_FORGET_EVERY: Final = 600.0


class JobRuns:
    """The jobs of this process. `pauses` are the seconds before each call of a webhook."""

    def __init__(
        self,
        jobs: Jobs,
        webhooks: Webhooks,
        errands: Errands,
        observer: Observer,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._jobs: Final = jobs
        self._webhooks: Final = webhooks
        self._errands: Final = errands
        self._observer: Final = observer
        self._pauses: Final = pauses
        self._running: Final[set[asyncio.Task[Any]]] = set()
        self._telling: Final[set[asyncio.Task[Any]]] = set()

    def begin(self, job: Job, work: Callable[[], Awaitable[Ended]]) -> asyncio.Task[Job | None]:
        """Do a job, though nobody wait for it; the task's result is the job when that is done and noted."""
        return _held(self._running, asyncio.get_running_loop().create_task(self._run(job, work)))

    async def watch(self, again: Again) -> None:
        """Until cancelled: adopt what dead workers left behind, and forget what is old."""
        loop = asyncio.get_running_loop()
        forgotten = loop.time() - _FORGET_EVERY
        while True:
            try:
                await self.adopt_orphans(again)
                if loop.time() - forgotten >= _FORGET_EVERY:
                    await self._jobs.forget()
                    forgotten = loop.time()
            except DatabaseUnavailableError:
                pass  # it may come and go, and has been counted
            except Exception as error:  # noqa: BLE001 - whatever it is, the others' jobs must go on
                self._observer.fault("jobs", error)
            await asyncio.sleep(_LOOK_EVERY)

    async def adopt_orphans(self, again: Again) -> None:
        """Go on with the jobs of dead workers, where these left them."""
        for orphan in await self._jobs.orphans():
            job = await self._jobs.adopt(orphan)
            if job is None:
                continue
            if job.finished is None:
                self.begin(job, partial(again, job))
            else:
                self._tell(job)

    async def drain(self, within: float) -> None:
        """Wait until all jobs are done and noted, at most so many seconds; the rest is for other workers."""
        if self._running:
            await asyncio.wait(self._running, timeout=within)
        for task in (*self._running, *self._telling):
            task.cancel()

    async def _run(self, job: Job, work: Callable[[], Awaitable[Ended]]) -> Job | None:
        try:
            with contextlib.suppress(DatabaseUnavailableError):
                await self._jobs.begin(job)
            ended = await work()
        except GatewayError as error:
            if error.kind is Kind.DRAINING:
                return None  # another worker adopts it when this one has gone
            ended = failed(error)
        except Exception as error:  # noqa: BLE001 - its caller must be told, and the fault be logged
            self._observer.fault("job", error)
            ended = failed(internal_error())
        done: list[Job] = []

        async def note() -> None:
            if (noted := await self._jobs.end(job, ended)) is not None:
                done.append(noted)
                self._tell(noted)

        await self._errands.now_or_later(note)
        return done[0] if done else None

    def _tell(self, job: Job) -> None:
        if job.webhook is not None and job.told is None:
            _held(self._telling, asyncio.get_running_loop().create_task(self._announce(job, job.webhook)))

    async def _announce(self, job: Job, webhook: str) -> None:
        body = announcement(job)
        last = len(self._pauses)
        for tries in range(min(job.tries, last - 1) + 1, last + 1):
            await asyncio.sleep(self._pauses[tries - 1])
            receipt = await self._webhooks.post(webhook, job.id, body)
            if receipt is not Receipt.TAKEN:
                self._observer.dependency_error("webhook")
            over = receipt is not Receipt.FAILED or tries == last
            if not await self._goes_on(job, tries, over=over):
                return

    async def _goes_on(self, job: Job, tries: int, *, over: bool) -> bool:
        try:
            ours = await self._jobs.tried(job, tries, over=over)
        except DatabaseUnavailableError:
            self._errands.insist(lambda: self._jobs.tried(job, tries, over=over))
            ours = True
        return ours and not over


def _held(tasks: set[asyncio.Task[Any]], task: asyncio.Task[Any]) -> asyncio.Task[Any]:
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task
