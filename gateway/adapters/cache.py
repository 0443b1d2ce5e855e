"""Pictures and unknown outcomes in Redis, by fingerprint. Whatever goes wrong is a miss, counted by the store."""

from typing import Final

from gateway.core.entry import Entry, HeldError, encode, read_entry, read_held
from gateway.core.errors import GatewayError
from gateway.core.keys import Caller
from gateway.ports import Clock, Store, StoreUnavailableError

_MOST_HELD_HERE: Final = 10_000


class RedisCache:
    """The cache.

    Keys are `gw:{fingerprint}:…`: the braces keep what belongs to a picture on one server of a cluster.
    """

    def __init__(self, store: Store, clock: Clock, *, unknown_hold: int) -> None:
        self._store: Final = store
        self._clock: Final = clock
        self._unknown_hold: Final = unknown_hold
        # Unknown outcomes of this process, by monotonic expiry: with Redis gone they still must not be paid twice.
        self._held: Final[dict[str, tuple[float, GatewayError]]] = {}

    async def recall(self, fingerprint: str, caller: Caller) -> Entry | GatewayError | None:
        """The kept picture, the unknown outcome this key must be told again, or None; one round trip."""
        picture, unknown = f"gw:{{{fingerprint}}}:image", _held_key(fingerprint, caller)
        if self._held and (error := self._held_here(unknown)):
            return error
        try:
            entry, held = await self._store.look_up(picture, unknown)
        except StoreUnavailableError:
            return None
        if held is not None and (error := read_held(held, fingerprint)):
            return error
        return None if entry is None else read_entry(entry, fingerprint, self._clock.now())

    async def keep(self, fingerprint: str, url: str, ttl: int) -> bool:
        """Keep a picture for `ttl` seconds; whether it was stored."""
        if ttl <= 0:
            return False
        entry = Entry(fingerprint, url, self._clock.now() + ttl)
        return await self._set(f"gw:{{{fingerprint}}}:image", encode(entry), ttl)

    async def hold(self, fingerprint: str, caller: Caller, error: GatewayError) -> None:
        """Remember an unknown outcome for this key, here and in Redis."""
        if self._unknown_hold <= 0:
            return
        key = _held_key(fingerprint, caller)
        now = self._clock.monotonic()
        if len(self._held) >= _MOST_HELD_HERE:
            for name in [name for name, (until, _) in self._held.items() if until <= now]:
                del self._held[name]
        self._held[key] = (now + self._unknown_hold, error)
        held = HeldError(fingerprint, error.kind.row.code, error.message)
        await self._set(key, encode(held), self._unknown_hold)

    def _held_here(self, key: str) -> GatewayError | None:
        until, error = self._held.get(key, (0.0, None))
        if error is None:
            return None
        if until > self._clock.monotonic():
            return error.copy()
        del self._held[key]
        return None

    async def _set(self, key: str, value: bytes, seconds: int) -> bool:
        try:
            await self._store.execute("SET", key, value, "EX", seconds)
        except StoreUnavailableError:
            return False
        return True


def _held_key(fingerprint: str, caller: Caller) -> str:
    return f"gw:{{{fingerprint}}}:unknown:{caller.key}"
