"""What must be written and cannot be now: tried again until the database takes it."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final

from gateway.ports import DatabaseUnavailableError, Observer

# In seconds; the last one is that of all further attempts.
_PAUSES: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Errands:
    """The writes that wait for the database."""

    def __init__(self, observer: Observer) -> None:
        self._observer: Final = observer
        self._running: Final[set[asyncio.Task[None]]] = set()

    async def now_or_later(self, write: Callable[[], Awaitable[object]]) -> None:
        """Write; where the database is away, go on and let it be written when it is back."""
        try:
            await write()
        except DatabaseUnavailableError:
            self.insist(write)

    def insist(self, write: Callable[[], Awaitable[object]]) -> None:
        """Write in the background, until it is written."""
        task = asyncio.get_running_loop().create_task(self._insist(write))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def drain(self, within: float) -> None:
        """Wait until all is written, at most `within` seconds; what is not is told as a fault."""
        if self._running:
            await asyncio.wait(self._running, timeout=within)
        for task in self._running:
            task.cancel()
            self._observer.fault("ledger", DatabaseUnavailableError("stopped before it could be written"))

    async def _insist(self, write: Callable[[], Awaitable[object]]) -> None:
        for attempt in count():
            await asyncio.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])
            try:
                await write()
            except DatabaseUnavailableError:
                continue
            except Exception as error:  # noqa: BLE001 - nobody else is there to hear it
                self._observer.fault("ledger", error)
            return
