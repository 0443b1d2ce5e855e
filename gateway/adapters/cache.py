"""Pictures in Redis, by fingerprint. Whatever goes wrong is a miss, counted by the store."""

from collections.abc import Awaitable, Generator
from typing import Any, Final

from gateway.core.entry import Entry, encode, read_entry
from gateway.flights import hear
from gateway.ports import Clock, Store, StoreUnavailableError


class RedisCache:
    """The cache; a picture is kept under `gw:{fingerprint}:image`."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store: Final = store
        self._clock: Final = clock

    def name(self, fingerprint: str) -> str:
        """Under which name a picture is kept; the braces tell a cluster what belongs together."""
        return f"gw:{{{fingerprint}}}:image"

    async def recall(self, fingerprint: str) -> Entry | None:
        """The kept picture; one round trip."""
        try:
            [entry] = await self._store.look_up(self.name(fingerprint))
        except StoreUnavailableError:
            return None
        return self.read(fingerprint, entry)

    def read(self, fingerprint: str, value: bytes | None) -> Entry | None:
        """The kept picture out of what was found under its name; None where that is no entry of ours."""
        return None if value is None else read_entry(value, fingerprint, self._clock.now())

    def keep(self, fingerprint: str, url: str, ttl: int, *, replace: bool = True) -> Awaitable[bool]:
        """Begin to keep a picture for `ttl` seconds; whether the server took it may be waited for, once."""
        if ttl <= 0:
            return _Keeping(None)
        entry = encode(Entry(fingerprint, url, self._clock.now() + ttl))
        try:
            reply = self._store.start("SET", self.name(fingerprint), entry, "EX", ttl, *(() if replace else ("NX",)))
        except StoreUnavailableError:
            return _Keeping(None)
        reply.add_done_callback(hear)
        return _Keeping(reply)


class _Keeping:
    """Whether a picture was stored, once that is known. Not a coroutine, so that nobody has to wait for it."""

    def __init__(self, reply: Awaitable[object] | None) -> None:
        self._reply: Final = reply

    def __await__(self) -> Generator[Any, Any, bool]:
        return self._is_kept().__await__()

    async def _is_kept(self) -> bool:
        if self._reply is None:
            return False
        try:
            await self._reply
        except StoreUnavailableError:
            return False
        return True
