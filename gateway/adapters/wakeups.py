"""Words between workers, over Redis: "this picture is there". One that is lost costs a poll, nothing else.

Each name has a channel of its own, which is subscribed to while somebody waits for it: most pictures are waited for by
nobody elsewhere, and no worker has to hear of those. A word costs a fortieth of a paid call, so who is alone says none.
"""

import asyncio
from typing import Final, Protocol

from gateway.ports import Store

_PREFIX: Final = "gw:done:"


class Channels(Store, Protocol):
    """A store that also listens."""

    async def subscribe(self, channel: str) -> None:
        """Listen to a channel."""

    async def unsubscribe(self, channel: str) -> None:
        """Listen to it no longer."""


class RedisWakeups:
    """Publishes through the store, and is told by `heard` on which channels others have; without a store none do."""

    def __init__(self, store: Channels | None) -> None:
        self._store: Final = store
        self._waiting: Final[dict[str, set[asyncio.Future[None]]]] = {}

    def tell(self, name: str) -> None:
        """Wake all who wait for a name, on every worker."""
        self._wake(name)
        if self._store is not None:
            self._store.post("PUBLISH", _PREFIX + name, "")

    async def wait(self, name: str, seconds: float) -> None:
        """Return when the name is told, or after `seconds` and what Redis takes. A cluster brings no other's words."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        others = self._waiting.setdefault(name, set())
        others.add(woken)
        try:
            if len(others) == 1 and self._store is not None:
                await self._store.subscribe(_PREFIX + name)
            await asyncio.wait((woken,), timeout=seconds)
        finally:
            others.discard(woken)
            if not others:
                del self._waiting[name]
                if self._store is not None:
                    await self._store.unsubscribe(_PREFIX + name)

    def heard(self, channel: str) -> None:
        """Wake those who wait here for what a channel is about."""
        self._wake(channel.removeprefix(_PREFIX))

    def _wake(self, name: str) -> None:
        for woken in self._waiting.get(name, ()):
            if not woken.done():
                woken.set_result(None)
