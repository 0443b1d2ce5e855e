"""Idempotency keys are kept for a day and not for ever."""

import asyncio
from dataclasses import dataclass

from gateway.core.repeats import Repeat
from gateway.flights import Errands, Repeated
from gateway.ports import DatabaseUnavailableError
from tests.fakes import FakeClock, FakeObserver, MemoryRepeats, until


@dataclass
class Forgetful(MemoryRepeats):
    """Its database is away the first time."""

    asked: int = 0

    async def forget(self) -> None:
        self.asked += 1
        if self.asked == 1:
            raise DatabaseUnavailableError
        self.names.clear()


async def test_what_has_lapsed_is_forgotten_in_the_background() -> None:
    repeats = Forgetful({("key", "name"): (b"digest", Repeat(1))})
    repeated = Repeated(repeats, Errands(FakeObserver()), FakeClock(), forget_every=0.001)
    watching = asyncio.get_running_loop().create_task(repeated.watch())

    await until(lambda: not repeats.names)

    watching.cancel()
