"""A transport that writes what is written within one turn of the event loop in one piece, and knows of a hang-up."""

import asyncio
import select
from typing import Any, Final

# More than this is not held back: a long body is written as it comes, and the transport's own flow control applies.
_MOST_HELD: Final = 16 * 1024
# Linux tells of a peer that will say no more, whatever of it was not read yet; uvloop closes for that, too. Others tell
# of one that is gone, or the event loop hears of it later.
_HUNG_UP: Final = getattr(select, "POLLRDHUP", select.POLLHUP)


class Gathering:
    """A transport whose small writes are joined, and whose kernel is asked; everything else is the transport's own."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport: Final = transport
        self._loop: Final = loop
        self._held: list[bytes] = []
        self._size = 0
        self._poll: Final = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), _HUNG_UP)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the transport has
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Hold data back until the loop's next turn, or write it with what was held if it is long."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._size += len(data)
        if self._size > _MOST_HELD:
            self._flush()

    def write_now(self, data: bytes) -> None:
        """Write data, after what was held."""
        self._flush()
        if not self._transport.is_closing():
            self._transport.write(data)

    def is_closing(self) -> bool:
        """Whether the transport is closing."""
        return self._transport.is_closing()

    def has_hung_up(self) -> bool:
        """Whether the client has, by now: the kernel knows, though the event loop may have stood still since."""
        # In this order: the number of a closed socket is soon another's.
        return self._transport.is_closing() or bool(self._poll.poll(0))

    def close(self) -> None:
        """Write what is held, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if not self._held:
            return
        held, self._held, self._size = self._held, [], 0
        if not self._transport.is_closing():
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))
