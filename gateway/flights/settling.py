"""What follows a paid call: its money is settled and its picture kept, whoever is left to settle it."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import Caller
from gateway.core.ledger import Ending, Generation, State
from gateway.core.order import MEDIA
from gateway.flights.errands import Errands
from gateway.flights.gallery import Gallery
from gateway.ports import Cache, Drawn, Ledger, Observer, Wakeups

_FAULT: Final = "The gateway failed in the middle of this call; the picture may have been billed."


class Call(Protocol):
    """A call that is over: its row in the ledger, None where nothing was reserved."""

    def end(self) -> Generation | None:
        """Note that it is over."""


class Flown(msgspec.Struct, frozen=True, gc=False):
    """A picture at the end of its flight; `joined` where another worker's call drew it.

    `stored` where the cache has this very address.
    """

    url: str
    stored: bool = False
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Settling:
    """Ledger, cache and gallery.

    The row was committed before the call was sent, so nothing is lost where a picture is kept, and found by others,
    before its end is written.
    """

    ledger: Ledger
    errands: Errands
    cache: Cache
    gallery: Gallery
    wakeups: Wakeups
    observer: Observer

    async def landed(self, call: Call, drawn: Drawn) -> Flown:
        """Settle at the real cost where it is known, else at the plan's, and keep the picture meanwhile."""
        row = call.end()
        if row is None:
            raise GatewayError(Kind.INTERNAL_ERROR, "A picture came that nobody had reserved.")
        actual = row.reserved if drawn.micro_usd is None else drawn.micro_usd
        self.observer.paid(Caller(row.key, row.team), row.model, actual)
        ending = Ending(State.SUCCEEDED, actual, drawn.url, request_id=drawn.request_id)
        # Also where it is taken in: who dies in the middle of that leaves a picture that is found. But a fresh one's
        # address does not take the place of an older picture's, which may lie in our store.
        is_fresh = row.flight == row.id
        keeping, taking = self._keep(row, drawn.url, replace=self.gallery.media is None or not is_fresh), None
        if self.gallery.media is not None:  # else there is nothing to wait for but Redis: no need of a task
            taking = asyncio.get_running_loop().create_task(self._take_in(row, drawn.url, keeping))
        await self.errands.now_or_later(lambda: self.ledger.end(row, ending))
        flown = Flown(drawn.url, await keeping) if taking is None else await taking
        if flown.url != drawn.url:
            await self.errands.now_or_later(lambda: self.ledger.keep(row, flown.url))
        self.wakeups.tell(row.id)
        return flown

    async def failed(self, call: Call, error: GatewayError) -> None:
        """Let go of what is held, unless something may have been billed: that waits for 302's bill."""
        row = call.end()
        if row is None:
            return
        if error.outcome_unknown:
            ending = Ending(State.UNKNOWN, None, error=error, request_id=error.upstream_request_id)
        else:
            ending = Ending(State.FAILED, 0, error=error, request_id=error.upstream_request_id)
        await self.errands.now_or_later(lambda: self.ledger.end(row, ending))
        self.wakeups.tell(row.id)

    async def broke(self, call: Call) -> None:
        """A fault of ours in the middle of a call says nothing of its outcome."""
        await self.failed(call, GatewayError(Kind.UPSTREAM_UNKNOWN, _FAULT))

    async def _take_in(self, row: Generation, drawn: str, keeping: Awaitable[bool]) -> Flown:
        """Copy the picture into our store, and keep where it lies from now on, in the place of where it was drawn."""
        name = await self.gallery.take_in(drawn)
        await keeping  # one after the other: over two connections the first could arrive last
        url = drawn if name is None else MEDIA + name
        return Flown(url, await self._keep(row, url))

    def _keep(self, row: Generation, url: str, *, replace: bool = True) -> Awaitable[bool]:
        """Begin to keep an address in the cache; whether it has it may be waited for."""
        return self.cache.keep(row.fingerprint, url, self.gallery.ttl(row.ttl, url), replace=replace)
