"""Limits of keys and teams in Redis, decided by one script in one round trip; by this worker alone while Redis is away.

The look-up of kept pictures rides in the same call where they lie on the same server.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, cast

from gateway.core.keys import Caller
from gateway.core.limits import (
    LEASE,
    WINDOW,
    Admission,
    Limit,
    Refusal,
    Verdict,
    limits_of,
    refused,
    standings_of,
)
from gateway.core.windows import Named, Windows
from gateway.ports import Clock, Observer, Store, StoreUnavailableError

Lookups = Sequence[str]

_MOST_CALLERS: Final = 10_000
_RENEWED_AT_ONCE: Final = 1000
# How many numbers of the script's answer come before what is used.
_HEAD: Final = 3
# '>I6' in the script.
_NUMBER_SIZE: Final = 6
_LARGEST: Final = 256**_NUMBER_SIZE - 1
# Of a request that wants no image nothing is noted: any name will do in the place of its id.
_NO_ID: Final = "-"


class _Scripts(Store, Protocol):
    """A store that does not make everybody wait."""

    def start_script(self, source: str, keys: Sequence[str], *arguments: str | bytes | float) -> asyncio.Future[Any]:
        """As `run_script`, without waiting; a server that does not know the script is not told it."""

    def start_look_up(self, *keys: str) -> asyncio.Future[list[bytes | None]]:
        """As `look_up`, without waiting."""

    def post_script(self, source: str, keys: Sequence[str], *arguments: str | bytes | float) -> None:
        """Run a script that nobody waits for."""


@dataclass(frozen=True, slots=True)
class LimiterOptions:
    """`workers` share every limit while Redis is away; `window` and `lease` are seconds."""

    workers: int = 1
    window: float = WINDOW
    lease: float = LEASE


@dataclass(frozen=True, slots=True)
class _Books:
    """What a caller's limits are counted in. The standings of `told` are told; `packed` is as the script reads them."""

    caller: Caller
    limits: tuple[Named, ...]
    told: tuple[Limit, ...]
    keys: tuple[str, ...]
    images: tuple[str, ...]
    places: tuple[str, ...]
    packed: bytes


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
        self._books: Final[dict[tuple[str, str], _Books]] = {}
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
        keys = (*books.keys, _note_of(caller, request_id), *(lookups or ()))
        try:
            answer = await self._store.run_script(self._script, keys, "admit", books.packed, request_id, wanted)
            verdict, seen = _read(books, cast("list[int]", answer))
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

    def admit_kept(self, caller: Caller, lookups: Lookups, tell: Callable[[Admission | None], None]) -> None:
        """Let in a request whose pictures are all kept, without a task that waits for it; never raises.

        `tell` hears None where nothing was taken: a picture is not there, a limit refuses, Redis is away or has to be
        told the script, or pictures lie elsewhere.
        """
        books, pending = self._books_of(caller), None
        if self._cache is None:
            with contextlib.suppress(StoreUnavailableError):
                pending = self._start(books, lookups)
        if pending is None:
            tell(None)
        else:
            pending.add_done_callback(lambda done: tell(self._admission_of(books, done)))

    def _start(self, books: _Books, lookups: Lookups) -> asyncio.Future[Any]:
        if not books.limits:
            return self._store.start_look_up(*lookups)
        keys = (*books.keys, _note_of(books.caller, _NO_ID), *lookups)
        return self._store.start_script(self._script, keys, "admit_kept", books.packed, _NO_ID, 0)

    def _admission_of(self, books: _Books, done: asyncio.Future[Any]) -> Admission | None:
        try:
            return _kept(books, done)
        except Exception as error:  # noqa: BLE001 - nobody else hears it, and the caller waits
            self._observer.fault("limiter", error)
            return None

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
            await self._try((*books.images, _note_of(caller, request_id)), "give_back", images)

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

    def _books_of(self, caller: Caller) -> _Books:
        name = caller.team, caller.key
        books = self._books.get(name)
        if books is None or (books.caller is not caller and books.caller != caller):
            if len(self._books) >= _MOST_CALLERS:
                self._books.clear()
            books = self._books[name] = self._open_books(caller)
        return books

    def _open_books(self, caller: Caller) -> _Books:
        limits = tuple((_key_of(caller, limit), limit) for limit in limits_of(caller))
        keys = {
            measure: tuple(key for key, limit in limits if limit.measure == measure)
            for measure in ("requests", "images", "concurrency")
        }
        head = [_number(self._window_ms), _number(self._lease_ms), bytes(map(len, keys.values()))]
        return _Books(
            caller=caller,
            limits=limits,
            told=tuple(limit for _, limit in limits if limit.measure != "concurrency"),
            keys=tuple(key for key, _ in limits),
            images=keys["images"],
            places=keys["concurrency"],
            packed=b"".join([*head, *(_number(limit.most) for _, limit in limits)]),
        )


def _read(books: _Books, answer: list[int]) -> tuple[Verdict, list[bytes | None]]:
    """What the script answers: the verdict, and what was looked up."""
    refusing, wait, leased = answer[:_HEAD]
    found = _HEAD + 2 * len(books.told)
    resets = [reset / 1000 for reset in answer[_HEAD + 1 : found : 2]]
    standings = standings_of(zip(books.told, answer[_HEAD:found:2], resets, strict=True))
    refusal = Refusal(books.limits[refusing - 1][1], None if wait < 0 else wait / 1000) if refusing else None
    return Verdict(standings, refusal, bool(leased)), cast("list[bytes | None]", answer[found:])


def _kept(books: _Books, done: asyncio.Future[Any]) -> Admission | None:
    """The admission of a request whose pictures are all kept; None where `admit` has to be asked."""
    if done.cancelled() or done.exception() is not None:
        return None
    answer = done.result()
    if not books.limits:
        return None if None in answer else Admission(found=answer)
    if not answer:
        return None
    verdict, found = _read(books, answer)
    return None if verdict.refusal is not None else Admission(verdict.standings, found)


def _key_of(caller: Caller, limit: Limit) -> str:
    owner = f"key:{caller.key}" if limit.owner == "key" else "team"
    # Not the name that the sorted sets of older versions had, which may be running beside this one.
    what = limit.measure if limit.measure == "concurrency" else f"window:{limit.measure}"
    return f"gw:{{{caller.team}}}:limit:{what}:{owner}"


def _note_of(caller: Caller, request_id: str) -> str:
    """Where the script notes what a request took; the braces keep all keys of a team on one server of a cluster."""
    return f"gw:{{{caller.team}}}:limit:took:{request_id}"


def _number(number: int) -> bytes:
    return min(number, _LARGEST).to_bytes(_NUMBER_SIZE, "big")


def _missing(found: Sequence[bytes | None] | None, wanted: int) -> int:
    """How many pictures must be drawn."""
    return wanted if found is None else found.count(None)
