"""The keys of our account at 302: which one a call goes out on, and what all workers know of them.

What a complaint means is `gateway.core.pool`'s to say; here are choice, counting and sharing. Workers share what they
know through Redis, in the background: a call never waits for it, and without it each worker knows what it has seen.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec

from gateway.core import pool
from gateway.core.errors import GatewayError
from gateway.core.pool import Cause, Complaint, Health, State, public_id
from gateway.ports import Clock, Store, StoreUnavailableError

_LOG: Final = logging.getLogger("gateway302.upstream_keys")
_REFRESH_EVERY: Final = 1.0
# What no worker needs any more leaves Redis by itself.
_REMEMBER: Final = 86_400
_TICK: Final = 0.001
_DECODE: Final = msgspec.json.Decoder(Health).decode
_ENCODE: Final = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Key:
    secret: str = field(repr=False)
    id: str
    health: Health = field(default_factory=Health)
    in_flight: int = 0
    shared: Health = field(default_factory=Health)
    """What Redis was last told, or told us."""


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """How a key stands, as it may be shown; `until` is in seconds since 1970, 0 where it has no end of its own."""

    id: str
    state: State
    cause: Cause | None
    until: float
    in_flight: int
    models: tuple[str, ...] = ()
    """Those it is refused for, though it is well otherwise."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A key, lent to one call from the moment `asked`."""

    id: str
    secret: str = field(repr=False)
    model: str
    asked: float


class KeyPool:
    """All keys; `on_health` is told each key's id and whether it can be used, about every second and at each change."""

    def __init__(
        self,
        secrets: Sequence[str],
        store: Store,
        clock: Clock,
        on_health: Callable[[str, bool], None] = lambda _id, _healthy: None,
        lot: random.Random | None = None,
    ) -> None:
        self._keys: Final = {public_id(secret): _Key(secret, public_id(secret)) for secret in secrets}
        self._store: Final = store
        self._clock: Final = clock
        self._on_health: Final = on_health
        self._lot: Final = lot or random.Random()  # noqa: S311 - which key is no secret
        self._changed: Final = asyncio.Event()
        self._fresh = True
        for id_ in self._keys:
            on_health(id_, True)  # noqa: FBT003 - the gauge is there from the start

    def __repr__(self) -> str:
        return f"KeyPool({', '.join(f'{key.id}: {key.health.state}' for key in self._keys.values())})"

    def lend(self, model: str, tried: Container[str] = ()) -> Lease:
        """Choose a key for a call: of two usable ones, at random, that with fewer calls in flight.

        Raises:
            GatewayError: no key but those `tried` can be used; of the kind that helps the caller most.
        """
        now = self._clock.now()
        left = [key for key in self._keys.values() if key.id not in tried]
        key = self._choose(left, model, now)
        if key is None:
            raise pool.exhausted([key.health for key in self._keys.values()], model, now)
        if key.health.out_for(model, now) is not None and key.health.may_probe(model, now):
            self._note(key, pool.probing(key.health, model, now))
        key.in_flight += 1
        return Lease(key.id, key.secret, model, now)

    def give_back(self, lease: Lease) -> None:
        """The call is over, however it ended."""
        self._keys[lease.id].in_flight -= 1

    def worked(self, lease: Lease) -> None:
        """302 took the call."""
        key = self._keys[lease.id]
        self._note(key, pool.worked(key.health, lease.model, lease.asked, self._clock.now()))

    def failed(self, lease: Lease, error: GatewayError) -> Cause | None:
        """302 did not take the call; what that says of the key."""
        key, now, cause = self._keys[lease.id], self._clock.now(), pool.cause_of(error)
        if cause is Cause.FAILING:
            others = [other.health for other in self._keys.values() if other is not key]
            may_cool = pool.may_cool(others, now)
            self._note(key, pool.failed(key.health, now, may_cool=may_cool))
        elif cause is not None:
            wait = error.said.retry_after if error.said else None
            self._note(key, pool.struck(key.health, Complaint(cause, lease.model, lease.asked, wait), now))
        return cause

    def secrets(self, first: str = "") -> list[tuple[str, str]]:
        """Every key as (public id, secret): the named one first, then those that can be used, then the rest."""
        now = self._clock.now()
        keys = sorted(self._keys.values(), key=lambda key: (key.id != first, key.health.out(now) is not None))
        return [(key.id, key.secret) for key in keys]

    def snapshot(self) -> list[KeyStatus]:
        """How every key stands, as this worker knows it."""
        now = self._clock.now()
        return [_status(key, now) for key in self._keys.values()]

    def restore(self, key_id: str) -> bool:
        """Take a key back into use, for whoever mended it; False where there is no such key."""
        key = self._keys.get(key_id)
        if key is not None:
            self._note(key, Health(changed=self._clock.now()))
        return key is not None

    async def share_forever(self) -> None:
        """Keep in step with the other workers, until cancelled."""
        while True:
            try:
                await self.share()
            except Exception:  # noqa: BLE001 - whatever it is, the next second is another try
                _LOG.exception("the state of the keys could not be shared")
            with suppress(TimeoutError):
                async with asyncio.timeout(_REFRESH_EVERY):
                    await self._changed.wait()
            self._changed.clear()

    async def share(self) -> None:
        """Read what the others know, and tell them what changed here."""
        with suppress(StoreUnavailableError):
            for key in self._keys.values():
                self._learn(key, await self._store.execute("GET", _name(key)))
                if key.health.changed > key.shared.changed:
                    key.shared = key.health
                    await self._store.execute("SET", _name(key), _ENCODE(key.health), "EX", _life(key, self._clock))
            self._fresh = False
        now = self._clock.now()
        for key in self._keys.values():
            self._on_health(key.id, key.health.out(now) is None)

    def _choose(self, left: list[_Key], model: str, now: float) -> _Key | None:
        """A key, or none.

        Where every key is out, a call that was not refused yet is sent all the same, once: a refusal costs nothing, a
        key that was mended is found at once, and a request that 302 refuses on every key, whatever it says of them,
        cannot shut out all others. Busy keys have said how long they want to be left alone; but where there is only
        one, its callers have been told as much, and 302 may limit one model and not another.
        """
        usable = [key for key in left if _usable(key.health, model, now)]
        if not usable:
            usable = [key for key in left if key.health.out_for(model, now) is Cause.FAILING]
        alone = len(self._keys) == 1
        if not usable and len(left) == len(self._keys) and (alone or not any(_is_busy(key, now) for key in left)):
            usable = left
        if len(usable) <= 1:
            return usable[0] if usable else None
        one, other = self._lot.sample(usable, 2)
        return one if one.in_flight <= other.in_flight else other

    def _learn(self, key: _Key, data: object) -> None:
        key.shared = Health()  # what Redis does not hold, or nobody can read, is written anew
        with suppress(msgspec.DecodeError):
            theirs = _DECODE(data) if isinstance(data, bytes) else Health()
            now = self._clock.now()
            believed = pool.newer(key.health, theirs, now)
            if believed is theirs or theirs.changed <= key.health.changed:
                key.shared = theirs
            if believed is theirs:
                self._hear(key, pool.reborn(theirs, now) if self._fresh else theirs)

    def _note(self, key: _Key, health: Health) -> None:
        if health is key.health:
            return
        if not pool.same(health, key.health):
            # Later than what it replaces, whoever's clock wrote that.
            health = msgspec.structs.replace(health, changed=max(health.changed, key.health.changed + _TICK))
            self._changed.set()
        self._hear(key, health)

    def _hear(self, key: _Key, health: Health) -> None:
        now = self._clock.now()
        before, after = key.health.out(now), health.out(now)
        key.health = health
        if before is not after:
            _LOG.warning("key %s: %s -> %s", key.id, before or "ok", after or "ok")
            self._on_health(key.id, after is None)


def _usable(health: Health, model: str, now: float) -> bool:
    return health.out_for(model, now) is None or health.may_probe(model, now)


def _is_busy(key: _Key, now: float) -> bool:
    return key.health.out(now) is Cause.BUSY


def _status(key: _Key, now: float) -> KeyStatus:
    health, cause = key.health, key.health.out(now)
    if cause is None:
        return KeyStatus(key.id, "ok", None, 0.0, key.in_flight, tuple(health.models))
    until = health.until if health.state == "cooling" else 0.0
    return KeyStatus(key.id, health.state, cause, until, key.in_flight, tuple(health.models))


def _name(key: _Key) -> str:
    return f"gateway:upstream-key:{key.id}"


def _life(key: _Key, clock: Clock) -> int:
    return int(max(key.health.until - clock.now(), 0.0)) + _REMEMBER
