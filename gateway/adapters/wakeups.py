"""Words between workers, over Redis: "this picture is there". One that is lost costs a poll, nothing else."""

import asyncio
from typing import Final

from gateway.ports import Store

CHANNEL: Final = "gw:done"


class RedisWakeups:
    """Publishes through the store; what others publish comes in by `heard`."""

    def __init__(self, store: Store) -> None:
        self._store: Final = store
        self._waiting: Final[dict[str, set[asyncio.Future[None]]]] = {}

    def tell(self, name: str) -> None:
        """Wake all who wait for a name, on every worker."""
        self.heard(name)
        self._store.post("PUBLISH", CHANNEL, name)

    async def wait(self, name: str, seconds: float) -> None:
        """Return when the name is told, and after `seconds` at the latest."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, set()).add(woken)
        try:
            await asyncio.wait((woken,), timeout=seconds)
        finally:
            self._waiting[name].discard(woken)
            if not self._waiting[name]:
                del self._waiting[name]

    def heard(self, name: str) -> None:
        """Wake those who wait here."""
        for woken in self._waiting.get(name, ()):
            if not woken.done():
                woken.set_result(None)
