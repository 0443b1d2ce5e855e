"""Identical calls in flight share one; whoever hangs up, the call goes on and its picture is kept.

This is the form within one process, before the ledger is asked for those of others. What a flight does is handed in as
a coroutine; nothing here knows 302, Redis or HTTP.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

from gateway.core.errors import GatewayError, Kind, internal_error
from gateway.core.order import stays
from gateway.flights.audience import Audience
from gateway.flights.together import done_within
from gateway.ports import Observer

T = TypeVar("T")

# How long a landed flight can still be joined, in seconds. A request that looked into the cache just before the
# picture was kept comes here just after, and need not ask the ledger, which joins it to what ended in the last seconds.
# Longer than a look-up may take, and no longer: what is kept of every call pushes all else out of the CPU's caches.
LINGER: Final = 0.25


@dataclass(frozen=True, slots=True)
class Landed(Generic[T]):
    """How a flight ended, and whether this waiter began it or joined it."""

    value: T
    joined: bool


class _Live(NamedTuple, Generic[T]):
    """A flight that can be joined."""

    task: "asyncio.Task[T | GatewayError]"
    audience: Audience


class Flights(Generic[T]):
    """The calls in flight of this process."""

    def __init__(self, observer: Observer) -> None:
        self._observer: Final = observer
        self._live: Final[dict[str, _Live[T]]] = {}
        self._tasks: Final[set[asyncio.Task[T | GatewayError]]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

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
        if live is not None and _failed(live.task):
            live = None  # nobody has heard of it yet: whoever waits is told, whoever comes now tries again
        joined = live is not None
        if live is None:
            audience = Audience()
            live = _Live(self.begin(key, lambda: begin(audience), audience), audience)
        flight, clock = live.task, live.task.get_loop().time
        until = clock() + within
        if not await _attended(live, gone, within):
            raise TimeoutError
        result = flight.result()
        if not isinstance(result, GatewayError):
            return Landed(result, joined)
        if joined and own not in {"", key} and result.kind is Kind.INSUFFICIENT_QUOTA:
            return await self.join(own, begin, max(0.0, until - clock()), gone=gone)
        if joined and result.kind is Kind.CLIENT_CLOSED_REQUEST and not gone():
            return await self.join(key, begin, max(0.0, until - clock()), own=own, gone=gone)
        raise result.copy()

    async def drain(self, within: float | None = None) -> None:
        """Wait until every flight has landed, at most `within` seconds; each is bounded by the upstream's deadline."""
        loop = asyncio.get_running_loop()
        until = None if within is None else loop.time() + within
        while self._tasks and (until is None or loop.time() < until):
            await asyncio.wait(self._tasks, timeout=None if until is None else until - loop.time())

    def begin(
        self, key: str, begin: Callable[[], Awaitable[T]], audience: Audience | None = None
    ) -> asyncio.Task[T | GatewayError]:
        """Begin a flight for which nobody need wait."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._fly(begin))
        self._tasks.add(task)
        self._observer.flights(1)
        self._live[key] = _Live(task, audience or Audience())
        task.add_done_callback(lambda done: self._landed(key, done))
        return task

    async def _fly(self, begin: Callable[[], Awaitable[T]]) -> T | GatewayError:
        # A flight never raises: its failure is a value, for none, one or many may be there to hear it.
        try:
            return await begin()
        except GatewayError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is, the waiters must be told and the fault be logged
            self._observer.fault("flight", error)
            return internal_error()

    def _landed(self, key: str, task: asyncio.Task[T | GatewayError]) -> None:
        self._tasks.discard(task)
        self._observer.flights(-1)
        if _failed(task):
            self._forget(key, task)
        else:
            task.get_loop().call_later(LINGER, self._forget, key, task)

    def _forget(self, key: str, task: asyncio.Task[T | GatewayError]) -> None:
        live = self._live.get(key)
        if live is not None and live.task is task:
            del self._live[key]


def _failed(task: "asyncio.Task[T | GatewayError]") -> bool:
    """Whether a flight is over and may be tried again: an unknown outcome may not."""
    if not task.done():
        return False
    result = None if task.cancelled() else task.result()
    return task.cancelled() or (isinstance(result, GatewayError) and not result.kind.row.outcome_unknown)


async def _attended(live: _Live[T], gone: Callable[[], bool], within: float) -> bool:
    one = live.audience.add(gone)
    try:
        return await done_within(live.task, within)
    finally:
        live.audience.leave(one)
