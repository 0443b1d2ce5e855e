"""A picture's bytes while they wait to be sent: somebody holds them, and lets go of them when the request is over."""

from typing import Protocol


class Held(Protocol):
    """The bytes of one picture, read by their place; where they lie is not told."""

    @property
    def size(self) -> int:
        """How many bytes there are."""

    @property
    def media_type(self) -> str | None:
        """What they are, by their signature; None for no picture."""

    @property
    def dimensions(self) -> tuple[int, int] | None:
        """Width and height, where the beginning tells them."""

    async def read(self, start: int, end: int) -> bytes | memoryview:
        """The bytes [start, end), fewer where they end before."""

    def close(self) -> None:
        """Let go of them: from now on there are none. Once more does no harm."""


class Holding:
    """Everything held for one request: let go of together when it is over, and at once what comes only then."""

    __slots__ = ("_all", "_over")

    def __init__(self) -> None:
        self._all: list[Held] = []
        self._over = False

    def add(self, held: Held) -> Held:
        """Hold until the request is over."""
        if self._over:
            held.close()
        else:
            self._all.append(held)
        return held

    def close(self) -> None:
        """Let go of all: the request is answered, has failed, or nobody waits for its answer any more."""
        self._over = True
        while self._all:
            self._all.pop().close()
