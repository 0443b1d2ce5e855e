"""Identical calls in flight share one; whoever hangs up, the call goes on and its picture is kept.

This is the form within one process, before the ledger is asked for those of others. What a flight does is handed in as
a coroutine; nothing here knows 302, Redis or HTTP.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Generic, TypeVar

import msgspec

from gateway.core.errors import GatewayError, Kind, internal_error
from gateway.core.order import stays
from gateway.flights.audience import Audience
from gateway.ports import Observer

T = TypeVar("T")

# How long a landed flight can still be joined, in seconds. A request that looked into the cache just before the
# picture was kept comes here just after, and need not ask the ledger, which joins it to what ended in the last seconds.
# Longer than a look-up may take, and no longer: what is kept of every call pushes all else out of the CPU's caches.
LINGER: Final = 0.25
# Seconds between two looks for those whose time is over: many land in between, and share one timer. So much longer than
# LINGER a flight may be joined.
SWEEP_EVERY: Final = 0.02


class Landed(msgspec.Struct, Generic[T], frozen=True):
    """How a flight ended, and whether this waiter began it or joined it."""

    value: T
    joined: bool


class _Live(msgspec.Struct, Generic[T], frozen=True):
    """A flight that can be joined."""

    task: "asyncio.Task[T | GatewayError]"
    audience: Audience


class Flights(Generic[T]):
    """The calls in flight of this process."""

    def __init__(self, observer: Observer) -> None:
        self._observer: Final = observer
        self._live: Final[dict[str, _Live[T]]] = {}
        self._tasks: Final[set[asyncio.Task[T | GatewayError]]] = set()
        self._lingering: Final[deque[tuple[float, str, Audience]]] = deque()

    def under_way(self) -> list["asyncio.Task[T | GatewayError]"]:
        """Those that have not landed."""
        return list(self._tasks)

    def is_under_way(self, key: str) -> bool:
        """Whether the flight of this key has not landed."""
        live = self._live.get(key)
        return live is not None and not live.task.done()

    async def join(
        self,
        key: str,
        begin: Callable[[Audience], Awaitable[T]],
        within: float,
        *,
        fresh: bool = False,
        own: str = "",
        gone: Callable[[], bool] = stays,
    ) -> Landed[T]:
        """Wait for the flight of this key, at most `within` seconds, beginning it where there is none.

        A fresh one is begun in any case; who comes after with the same key joins it. Where it was refused for the money
        of whoever began it, those who joined fly by their `own` key. `gone` tells whether who waits has hung up: a
        flight hears of all who wait for it, as its audience.

        Raises:
            TimeoutError: it has not landed yet; it goes on.
            GatewayError: the flight's failure, the same for all who wait; `rate_limit_exceeded`, too many do.
        """
        live = None if fresh else self._live.get(key)
        joined = live is not None
        if live is None:
            live = self._begin(key, begin)
        loop = live.task.get_loop()
        until = loop.time() + within
        if not await live.audience.wait(loop, gone, within):
            raise TimeoutError
        result = live.task.result()
        if not isinstance(result, GatewayError):
            return Landed(result, joined)
        if joined and own not in {"", key} and result.kind is Kind.INSUFFICIENT_QUOTA:
            return await self.join(own, begin, max(0.0, until - loop.time()), gone=gone)
        if joined and result.kind is Kind.CLIENT_CLOSED_REQUEST and not gone():
            return await self.join(key, begin, max(0.0, until - loop.time()), own=own, gone=gone)
        raise result.copy()

    async def drain(self, within: float | None = None) -> None:
        """Wait until every flight has landed, at most `within` seconds; each is bounded by the upstream's deadline."""
        loop = asyncio.get_running_loop()
        until = None if within is None else loop.time() + within
        while self._tasks and (until is None or loop.time() < until):
            await asyncio.wait(self._tasks, timeout=None if until is None else until - loop.time())

    def begin(self, key: str, begin: Callable[[], Awaitable[T]]) -> None:
        """Begin a flight for which nobody need wait."""
        self._begin(key, lambda _audience: begin())

    def _begin(self, key: str, begin: Callable[[Audience], Awaitable[T]]) -> _Live[T]:
        audience = Audience()
        task = asyncio.get_running_loop().create_task(self._fly(key, begin, audience))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, key, audience))
        self._observer.flights(1)
        live = self._live[key] = _Live(task, audience)
        return live

    async def _fly(self, key: str, begin: Callable[[Audience], Awaitable[T]], audience: Audience) -> T | GatewayError:
        # A flight never raises: its failure is a value, for none, one or many may be there to hear it.
        can_be_joined = False
        try:
            result = await begin(audience)
        except GatewayError as error:
            # What failed may be tried again; an unknown outcome may not.
            can_be_joined = error.kind.row.outcome_unknown
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is, the waiters must be told and the fault be logged
            self._observer.fault("flight", error)
            return internal_error()
        else:
            can_be_joined = True
            return result
        finally:
            self._land(key, audience, can_be_joined=can_be_joined)

    def _ended(self, key: str, audience: Audience, task: asyncio.Task[T | GatewayError]) -> None:
        self._tasks.discard(task)
        self._observer.flights(-1)
        if task.cancelled():  # perhaps before it began, and then it has not landed
            self._land(key, audience, can_be_joined=False)

    def _land(self, key: str, audience: Audience, *, can_be_joined: bool) -> None:
        """Wake who waits, and where it can be joined, let it be for `LINGER` seconds more.

        The last that a flight does: who is woken reads the task's result, so nothing may be awaited after it.
        """
        audience.land()
        if not can_be_joined:
            self._forget(key, audience)
            return
        self._lingering.append((time.monotonic() + LINGER, key, audience))
        if len(self._lingering) == 1:
            loop = asyncio.get_running_loop()
            loop.call_later(LINGER, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let those go whose time is over, and come again: one timer, not one a flight."""
        while self._lingering and self._lingering[0][0] <= time.monotonic():
            _, key, audience = self._lingering.popleft()
            self._forget(key, audience)
        if self._lingering:
            loop.call_later(SWEEP_EVERY, self._sweep, loop)

    def _forget(self, key: str, audience: Audience) -> None:
        live = self._live.get(key)
        if live is not None and live.audience is audience:
            del self._live[key]
