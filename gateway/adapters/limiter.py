"""Limits of keys and teams in Redis, decided by one script in one round trip; by this worker alone while Redis is away.

The look-up of kept pictures rides in the same call where they lie on the same server.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from gateway.adapters.kept_admission import Asking, KeptAdmission
from gateway.adapters.limit_books import Books, note_of
from gateway.core.keys import Caller
from gateway.core.limits import LEASE, WINDOW, Admission, OnAdmission, refused
from gateway.core.windows import Windows
from gateway.ports import Clock, Observer, Store, StoreUnavailableError

Lookups = Sequence[str]

_MOST_CALLERS: Final = 10_000
_RENEWED_AT_ONCE: Final = 1000


class _Scripts(Store, Asking, Protocol):
    """A store that does not make everybody wait."""

    def post_script(self, source: str, keys: Sequence[str], *arguments: str | bytes | float) -> None:
        """Run a script that nobody waits for."""


@dataclass(frozen=True, slots=True)
class LimiterOptions:
    """`workers` share every limit while Redis is away; `window` and `lease` are seconds."""

    workers: int = 1
    window: float = WINDOW
    lease: float = LEASE


class RedisLimiter:
    """The limiter. `cache` is where pictures are looked up where they cannot be in the script.

    That is where they lie on another server than the limits, or anywhere in a cluster.
    """

    def __init__(
        self,
        store: _Scripts,
        observer: Observer,
        clock: Clock,
        options: LimiterOptions | None = None,
        cache: Store | None = None,
    ) -> None:
        options = options or LimiterOptions()
        self._store: Final = store
        self._cache: Final = cache
        self._observer: Final = observer
        self._clock: Final = clock
        self._lease: Final = options.lease
        self._window_ms: Final = int(options.window * 1000)
        self._lease_ms: Final = int(options.lease * 1000)
        # Places are noted here wherever they were taken, so that they count when Redis goes away, and are renewed.
        self._windows: Final = Windows(options.workers, options.window)
        self._books: Final[dict[tuple[str, str], Books]] = {}
        self._script: Final = Path(__file__).with_name("limiter.lua").read_text("utf-8")

    async def admit(self, caller: Caller, request_id: str, wanted: int, lookups: Lookups | None) -> Admission:
        """Let a request in; all limits are taken from, or none.

        Raises:
            GatewayError: `rate_limit_exceeded`; what never fits is told as an error of the request.
        """
        books = self._books_of(caller)
        if not books.limits:
            return Admission(found=await self._look_up(lookups))
        found: list[bytes | None] | None = None
        if lookups is not None and self._cache is not None:
            found = await self._look_up(lookups)
            wanted, lookups = _missing(found, wanted), None
        keys = (*books.keys, note_of(caller, request_id), *(lookups or ()))
        try:
            answer: Any = await self._store.run_script(self._script, keys, "admit", books.packed, request_id, wanted)
            verdict, seen = books.read(answer)
            found = seen if lookups is not None else found
        except StoreUnavailableError:
            if lookups is not None:
                # Only the script may have failed, as when a full server refuses to write: it can still be read.
                found = await self._look_up(lookups)
                wanted = _missing(found, wanted)
            verdict = self._windows.admit(books.limits, wanted, request_id, self._clock.monotonic())
        if verdict.refusal is not None:
            self._observer.limited(caller.team, verdict.refusal.limit.name)
            raise refused(verdict.refusal, verdict.standings)
        if verdict.leased:
            self._windows.hold(books.places, request_id)
        return Admission(verdict.standings, found, verdict.leased)

    def kept_admission(self, caller: Caller, lookups: Lookups) -> Callable[[OnAdmission], None]:
        """What lets in a request whose pictures are all kept, without a task that waits for it; it never raises.

        It tells None where nothing was taken: as `KeptAdmission`, and where pictures lie elsewhere.
        """
        if self._cache is not None:
            return _let_nobody_in
        return KeptAdmission(self._store, self._observer, self._script, self._books_of(caller), lookups)

    async def release(self, request_id: str) -> None:
        """Give the place at once back, where there is one; never raises."""
        if places := self._windows.release(request_id):
            await self._try(places, "release", request_id)

    def release_soon(self, request_id: str) -> None:
        """As `release`, without waiting until it is given back."""
        if places := self._windows.release(request_id):
            self._store.post_script(self._script, places, "release", request_id)

    async def give_back(self, caller: Caller, request_id: str, images: int) -> None:
        """Let as many images count no longer, for they were not drawn; never raises."""
        books = self._books_of(caller)
        if books.images and images > 0:
            self._windows.give_back(books.images, request_id, images)
            await self._try((*books.images, note_of(caller, request_id)), "give_back", images)

    async def renew(self) -> None:
        """Renew all places that requests of this worker hold, so that only those of a dead worker end."""
        holders = self._windows.holders()
        batches = [
            (places, ids[start : start + _RENEWED_AT_ONCE])
            for places, ids in holders.items()
            for start in range(0, len(ids), _RENEWED_AT_ONCE)
        ]
        await asyncio.gather(*(self._try(places, "renew", self._lease_ms, *ids) for places, ids in batches))
        # A release may have overtaken its renewal, on another connection.
        for places, ids in holders.items():
            if gone := [request_id for request_id in ids if not self._windows.holds(request_id)]:
                await self._try(places, "release", *gone)

    async def renew_forever(self) -> None:
        """Renew as often as it takes."""
        while True:
            await asyncio.sleep(self._lease / 3)
            await self.renew()

    async def _look_up(self, lookups: Lookups | None) -> list[bytes | None] | None:
        if lookups is None:
            return None
        store = self._cache or self._store
        try:
            if len(lookups) == 1:
                return await store.look_up(lookups[0])
            # One by one, for a cluster; those of one turn of the loop travel together anyhow.
            return [value for [value] in await asyncio.gather(*(store.look_up(name) for name in lookups))]
        except StoreUnavailableError:
            return None

    async def _try(self, keys: Sequence[str], *arguments: str | int) -> None:
        """Run a part of the script that nobody waits for the answer of; the store counts what goes wrong."""
        try:
            await self._store.run_script(self._script, keys, *arguments)
        except StoreUnavailableError:
            return

    def _books_of(self, caller: Caller) -> Books:
        name = caller.team, caller.key
        books = self._books.get(name)
        if books is None or (books.caller is not caller and books.caller != caller):
            if len(self._books) >= _MOST_CALLERS:
                self._books.clear()
            books = self._books[name] = Books.of(caller, self._window_ms, self._lease_ms)
        return books


def _missing(found: Sequence[bytes | None] | None, wanted: int) -> int:
    """How many pictures must be drawn."""
    return wanted if found is None else found.count(None)


def _let_nobody_in(tell: OnAdmission) -> None:
    tell(None)
