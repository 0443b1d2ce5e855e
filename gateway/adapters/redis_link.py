"""Carries commands to one server over one connection: those of one turn of the event loop leave in one write.

To wake an idle server is the dearest step here, so what nobody awaits shares the next write.
A client library in between would cost a cache hit as much again as everything else that it needs of Redis.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from gateway.adapters.redis_connection import (
    Address,
    Command,
    Connection,
    PackedCommand,
    Waiter,
    connect_to,
    packed,
    refuse,
)
from gateway.ports import StoreUnavailableError

# Commands that wait for a connection, or for room on it; each of them costs memory.
_MOST_WAITING: Final = 50_000
# For how many seconds a command that nobody awaits may linger, so that it shares the next write.
_LINGER: Final = 0.002


class Link:
    """Opens its connection when there is something to carry.

    `timeout` is how many seconds a reply, or a new connection, may take. `on_refusal` hears of each command that the
    server refused, and `on_lost` whenever there is no reply to be had.
    """

    def __init__(
        self, address: Address, timeout: float, on_refusal: Callable[[], None], on_lost: Callable[[], None]
    ) -> None:
        self._address: Final = address
        self._timeout: Final = timeout
        self._on_refusal: Final = on_refusal
        self._on_lost: Final = on_lost
        self._connection: Connection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._waiting: Final[deque[tuple[bytes, Waiter]]] = deque()
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None

    def send(self, command: Command | PackedCommand, waiter: Waiter) -> None:
        """Send a command with the others of this turn of the loop.

        Its waiter gets the reply, or `NoScriptError`, or `StoreUnavailableError`.
        """
        if self._enqueue(command, waiter) and not self._scheduled:
            self._scheduled = True
            waiter.get_loop().call_soon(self._flush)

    def send_lazily(self, command: Command, waiter: Waiter) -> None:
        """Send a command with the next one, or in some milliseconds; its waiter hears as from `send`."""
        # Where others wait already, they are about to leave, or wait for room or a connection: it goes with them.
        if self._enqueue(command, waiter) and len(self._waiting) == 1:
            self._timer = waiter.get_loop().call_later(_LINGER, self._flush)

    def look_up(self, keys: tuple[str, ...], waiter: Waiter) -> None:
        """Read keys; as `send`."""
        self.send(("MGET", *keys), waiter)

    async def ping(self) -> None:
        """Open a connection, for all that follows, or raise `StoreUnavailableError`."""
        connection = await connect_to(self._address, self._timeout)
        if connection.is_over:  # since its last reply
            raise StoreUnavailableError
        connection.on_refusal, connection.on_room, connection.on_end = self._on_refusal, self._go_on, self._ended
        self._connection = connection

    async def aclose(self) -> None:
        """Let go of the connection; whoever waits is told that there will be no reply."""
        if self._opening is not None:
            self._opening.cancel()
        if self._connection is not None:
            self._connection.on_end = _ignore
            self._connection.close()
        self._refuse_all()

    def _enqueue(self, command: Command | PackedCommand, waiter: Waiter) -> bool:
        """Queue a command; False where the queue is full, and it was refused."""
        if len(self._waiting) >= _MOST_WAITING:
            self._on_refusal()
            refuse([waiter])
            return False
        data = command.data if isinstance(command, PackedCommand) else packed(command)
        self._waiting.append((data, waiter))
        return True

    def _go_on(self) -> None:
        # While the timer runs, nothing waits but what may linger.
        if self._waiting and not self._scheduled and self._timer is None:
            self._flush()

    def _flush(self) -> None:
        self._scheduled = False
        self._stop_timer()
        if not self._waiting:  # they were refused meanwhile, with their connection
            return
        if self._connection is None:
            if self._opening is None:
                self._opening = asyncio.get_running_loop().create_task(self._open())
            return
        batch: list[tuple[bytes, Waiter]] = []
        room = self._connection.room
        while self._waiting and len(batch) < room:
            entry = self._waiting.popleft()
            if not entry[1].done():  # whoever was cancelled needs no reply
                batch.append(entry)
        if batch:
            self._connection.send(batch)

    async def _open(self) -> None:
        try:
            await self.ping()
        except StoreUnavailableError:
            self._lose()
        finally:
            self._opening = None
        self._go_on()

    def _ended(self, is_missed: bool) -> None:  # noqa: FBT001 - as a connection tells it
        self._connection = None
        # One that was idle is opened again when it is needed: nothing was lost with it.
        if is_missed:
            self._lose()

    def _lose(self) -> None:
        self._on_lost()
        self._refuse_all()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse_all(self) -> None:
        self._stop_timer()
        refuse([waiter for _, waiter in self._waiting])
        self._waiting.clear()


def _ignore(_is_missed: bool) -> None:  # noqa: FBT001 - as a connection tells it
    return None
