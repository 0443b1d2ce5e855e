"""Those for whom a picture is drawn, and whether any of them is still there."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from gateway.core.errors import GatewayError, Kind

MOST: Final = 1000
"""How many may wait for one flight of one worker; each of them costs memory until it lands."""
_CROWDED: Final = "Too many requests wait for this very picture already; ask again in a moment."
# In seconds.
_COME_BACK: Final = 1.0
_LOOK_EVERY: Final = 0.1
_GONE: Final = "Whoever asked for this hung up before anything was sent; nothing was paid."


class Audience:
    """All who wait for one flight. Before it is paid for, and only then, it ends where all of them have hung up.

    A worker that stood still finds requests whose clients gave up on it long ago, and have been answered by another.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most: Final = most
        self._gone: dict[object, Callable[[], bool]] = {}
        self._waiting: Final[dict[asyncio.Future[None], None]] = {}  # in the order in which they came
        self._has_landed = False
        self._look_again = 0.0

    def add(self, gone: Callable[[], bool]) -> object:
        """One more waits, until it leaves by what this returns; `gone` tells whether it has hung up.

        Raises:
            GatewayError: `rate_limit_exceeded`, too many wait already.
        """
        if len(self._gone) >= self._most:
            self._let_go()
            if len(self._gone) >= self._most:
                raise GatewayError(Kind.RATE_LIMIT_EXCEEDED, _CROWDED, retry_after=_COME_BACK)
        one = object()
        self._gone[one] = gone
        return one

    def leave(self, one: object) -> None:
        """It waits no longer."""
        self._gone.pop(one, None)

    async def wait(self, loop: asyncio.AbstractEventLoop, gone: Callable[[], bool], within: float) -> bool:
        """Wait with the others, at most `within` seconds; whether the flight has landed.

        Raises:
            GatewayError: as `add`.
        """
        if self._has_landed:
            return True
        one = self.add(gone)
        woken: asyncio.Future[None] = loop.create_future()
        self._waiting[woken] = None
        timer = loop.call_later(within, _wake, woken)
        try:
            await woken
        finally:
            timer.cancel()
            del self._waiting[woken]
            self.leave(one)
        return self._has_landed  # it may have, just when the time was over

    def land(self) -> None:
        """The flight is over: wake all who wait for it."""
        self._has_landed = True
        for woken in self._waiting:
            _wake(woken)

    def check(self) -> None:
        """Raise `client_closed_request` where nobody is there any more; who never was there does not count."""
        for gone in self._gone.values():  # `all` of a generator would cost more than what it asks
            if not gone():
                return
        if self._gone:
            raise GatewayError(Kind.CLIENT_CLOSED_REQUEST, _GONE)

    def _let_go(self) -> None:
        """Forget who has hung up; the kernel is asked about each of them, which a crowd's every newcomer may not do."""
        now = time.monotonic()
        if now >= self._look_again:
            self._look_again = now + _LOOK_EVERY
            self._gone = {one: gone for one, gone in self._gone.items() if not gone()}


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
