"""What begins and ends with the application: background work, the last commits, connections."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from starlette.applications import Starlette

from gateway.adapters.hangup import has_terminal
from gateway.adapters.ledger import SqlLedger
from gateway.adapters.log import Bridge, LineLog
from gateway.adapters.observation import Observation
from gateway.durable import Durable
from gateway.flights import Drain, JobRuns
from gateway.pipeline import Gateway
from gateway.ports import DatabaseUnavailableError
from gateway.reload import Reloader

if TYPE_CHECKING:
    from gateway.adapters.media import ObjectMedia

DRAIN: Final = "drain"
"""Under which name the server finds our `Drain` in the state of the lifespan."""
_SWITCH_EVERY: Final = 0.001
_SWEEP_EVERY: Final = 600.0
# How long a stopping worker waits for a database that is away, in seconds.
_WRITE_WITHIN: Final = 10.0


class Closing(Protocol):
    """What holds connections."""

    async def aclose(self) -> None:
        """Let go of them."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What is running, and what is to be closed."""

    gateway: Gateway
    jobs: JobRuns
    media: "ObjectMedia | None"
    durable: Durable
    ledger: SqlLedger
    reloader: Reloader
    background: Sequence[Callable[[], Coroutine[None, None, None]]]
    connections: Sequence[Closing]
    observation: Observation
    lines: LineLog
    _reloads: list[asyncio.Task[None]] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[dict[str, Drain]]:
        """From the first request to the last commit."""
        _log_through(self.lines)
        _settle_memory()
        # Without a database the process starts all the same, and says so.
        await self.durable.prepare(self.observation)
        loop = asyncio.get_running_loop()
        running = [loop.create_task(work()) for work in self.background]
        if self.media is not None:
            running.append(loop.create_task(self.media.sweep_forever(_SWEEP_EVERY, self._media_failed)))
        self._listen()
        self.lines.write("info", "started", {"pid": os.getpid(), "models": len(self.gateway.catalogue.models)})
        drain = self.gateway.drain
        try:
            yield {DRAIN: drain}
        finally:
            # What is paid for is waited for, and kept; what is not over in time is left to others.
            drain.begin()
            await self.gateway.flights.drain(drain.left)
            await self.jobs.drain(min(_WRITE_WITHIN, drain.left + 1.0))
            await self.gateway.settling.errands.drain(_WRITE_WITHIN)
            for task in running:
                task.cancel()
            with contextlib.suppress(DatabaseUnavailableError):
                await self.ledger.leave()
            if self.media is not None:
                self.media.close()
            await self.durable.aclose()
            await asyncio.gather(*(connection.aclose() for connection in self.connections))
            self.lines.write("info", "stopped", {"pid": os.getpid()})
            self.lines.close()

    def _listen(self) -> None:
        """SIGHUP reloads; only the main thread of a process hears signals."""
        if threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hear, has_terminal())

    def _hear(self, had_terminal: bool) -> None:  # noqa: FBT001 - as asyncio hands it over
        if had_terminal and not has_terminal():
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            self._reloads.append(asyncio.get_running_loop().create_task(self._reload()))

    async def _reload(self) -> None:
        # Whatever failed is in the log and in the metrics already.
        with contextlib.suppress(Exception):
            await self.reloader.reload()
        self._reloads[:] = [task for task in self._reloads if task is not asyncio.current_task()]

    def _media_failed(self, _error: Exception) -> None:
        self.observation.dependency_error("media")


def _log_through(lines: LineLog) -> None:
    root = logging.getLogger()
    root.handlers = [Bridge(lines)]
    root.setLevel(logging.WARNING)


def _settle_memory() -> None:
    """What is loaded now stays: the collector need not walk it again and again while a thousand calls are in flight."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
    # The thread that writes to the database may hold the interpreter no longer than callers notice.
    sys.setswitchinterval(_SWITCH_EVERY)
