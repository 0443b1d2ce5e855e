"""Requests with an Idempotency-Key: who asks again is told what the first was told, and pays nothing."""

import asyncio
import contextlib
from dataclasses import dataclass

from gateway.core.errors import GatewayError, Kind
from gateway.core.order import Order, Picture
from gateway.core.outcome import HIT
from gateway.core.repeats import Repeat, digest_of, is_final
from gateway.flights.errands import Errands
from gateway.ports import Clock, DatabaseUnavailableError, Repeats


@dataclass(frozen=True, slots=True)
class Repeated:
    """The names that requests were given, and how these ended."""

    repeats: Repeats
    errands: Errands
    clock: Clock
    forget_every: float = 3600.0
    """Seconds between two looks for names that have lapsed."""

    async def watch(self) -> None:
        """Until cancelled: forget what has lapsed; the database may come and go."""
        while True:
            with contextlib.suppress(DatabaseUnavailableError):
                await self.repeats.forget()
            await asyncio.sleep(self.forget_every)

    async def claim(self, order: Order) -> Repeat | None:
        """How the same request ended before; None for a new one, or one that is still under way.

        Raises:
            GatewayError: `idempotency_key_reused`, `store_unavailable`.
        """
        if order.asked.attempt is None:
            return None
        digest = digest_of(order.plan, order.asked.dialect, order.format)
        try:
            return await self.repeats.claim(order.caller.key, order.asked.attempt, digest)
        except DatabaseUnavailableError:
            message = "The gateway's database is away, so that an Idempotency-Key cannot be looked up."
            raise GatewayError(Kind.STORE_UNAVAILABLE, message) from None

    async def drew(self, order: Order, pictures: list[Picture]) -> None:
        """Note the pictures."""
        await self._keep(order, Repeat(int(self.clock.now()), tuple(picture.url for picture in pictures)))

    async def failed(self, order: Order, error: GatewayError) -> None:
        """Note an error that is to be told again."""
        if is_final(error):
            code = error.kind.row.code
            await self._keep(order, Repeat(int(self.clock.now()), (), code, error.message, error.param))

    async def _keep(self, order: Order, repeat: Repeat) -> None:
        if (name := order.asked.attempt) is not None and order.repeat is None:
            key = order.caller.key
            await self.errands.now_or_later(lambda: self.repeats.keep(key, name, repeat))


def told_again(repeat: Repeat) -> list[Picture]:
    """The pictures of the first answer; raises the error it was."""
    if (error := repeat.error) is not None:
        raise error
    return [Picture(url, HIT) for url in repeat.urls]
