"""What was in flight when a worker died is ended by another, and unknown outcomes are settled by 302's bill.

A call that was sent without a task id is never sent again: it may be paid. One with a task id is waited for by whoever
adopts it; its row's version makes sure that it is one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gateway.core.catalogue import Model
from gateway.core.errors import GatewayError, Kind
from gateway.core.ledger import Generation
from gateway.core.limits import LEASE
from gateway.flights.flights import Flights
from gateway.flights.paid import Adopted
from gateway.flights.settling import Flown, Settling
from gateway.ports import Clock, DatabaseUnavailableError, Ledger, Observer, Upstream

_BEAT_EVERY: Final = LEASE / 3
# 302 promises no time within which a call is on its books: it is asked at once, then ever more rarely, and after a day
# it is for a person to say.
_LONGEST_PAUSE: Final = 600.0
# Whose heart stopped this long could not reach the database. Nor could the others, maybe: they are not dead for that,
# and have a lease's time to say so.
_OUTAGE: Final = 2 * _BEAT_EVERY
_BILLS_FOR: Final = 86_400.0
_LOST: Final = "The gateway's worker that made this call died; the picture may have been billed."


class _Pause(NamedTuple):
    until: float
    length: float


@dataclass(slots=True)
class _Heart:
    """When it beat last, and until when nobody is taken for dead."""

    beaten: float | None = None
    patient_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """Beats the worker's heart, adopts orphans, asks for bills. `confirm`: those of what was drawn, too."""

    ledger: Ledger
    settling: Settling
    flights: Flights[Flown]
    upstream: Upstream
    model: Callable[[str], Model]
    observer: Observer
    clock: Clock
    confirm: bool = False
    pauses: dict[str, "_Pause"] = field(default_factory=dict)
    """When each row's bill is asked for next."""
    heart: _Heart = field(default_factory=_Heart)

    async def run(self) -> None:
        """Go on until cancelled; the database may come and go, and 302 may be slow to tell its bills."""
        await asyncio.gather(self._again_and_again(self.beat), self._again_and_again(self.ask_for_bills))

    async def beat(self) -> None:
        """Say that this worker lives, and go on with what dead ones left."""
        await self.ledger.beat()
        now, heart = self.clock.monotonic(), self.heart
        if heart.beaten is not None and now - heart.beaten >= _OUTAGE:
            heart.patient_until = now + LEASE
        heart.beaten = now
        if now >= heart.patient_until:
            await self.adopt_orphans()

    async def adopt_orphans(self) -> None:
        """End or go on with what is in flight without a living worker."""
        for orphan in await self.ledger.orphans():
            row = await self.ledger.adopt(orphan)
            if row is None:
                continue
            if row.task_id:
                self.flights.begin(f"adopted:{row.id}", self._resume(row))
            else:
                await self.settling.failed(Adopted(row), GatewayError(Kind.UPSTREAM_UNKNOWN, _LOST))

    async def ask_for_bills(self) -> None:
        """Settle what is unknown by what 302 billed, and correct what was settled as planned."""
        rows = await self.ledger.unsettled(confirm=self.confirm, since=self.clock.now() - _BILLS_FOR)
        known = {row.id for row in rows}
        for gone in self.pauses.keys() - known:
            del self.pauses[gone]
        for row in rows:
            pause = self.pauses.get(row.id)
            if pause is None or pause.until <= self.clock.monotonic():
                await self._ask_for_bill(row, pause)

    async def _ask_for_bill(self, row: Generation, pause: "_Pause | None") -> None:
        try:
            cost = await self.upstream.bill(row.request_id or "", row.upstream_key or "")
        except GatewayError:
            cost = None
        if cost is not None:
            await self.ledger.correct(row, cost)
        length = min(_BEAT_EVERY if pause is None else 2 * pause.length, _LONGEST_PAUSE)
        self.pauses[row.id] = _Pause(self.clock.monotonic() + length, length)

    async def _again_and_again(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._unless_away(work)
            await asyncio.sleep(_BEAT_EVERY)

    def _resume(self, row: Generation) -> Callable[[], Awaitable[Flown]]:
        async def resume() -> Flown:
            try:
                drawn = await self.upstream.resume(row.task_id or "", row.upstream_key or "", self.model(row.model))
            except GatewayError as error:
                await self.settling.failed(Adopted(row), error)
                raise
            return await self.settling.landed(Adopted(row), drawn)

        return resume

    async def _unless_away(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except DatabaseUnavailableError:
            return
        except Exception as error:  # noqa: BLE001 - the heart must go on beating
            self.observer.fault("recovery", error)
