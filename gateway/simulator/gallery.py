"""The pictures that were promised: each is drawn when somebody first looks at it.

A generation costs next to nothing until then, so that the simulator can stand behind a load test. Memory is bounded:
what is older is forgotten, and its URL leads nowhere.
"""

import asyncio
from random import Random
from typing import Final

from gateway.simulator.bounded import Bounded
from gateway.simulator.draw import draw
from gateway.simulator.rules import Drawing

_DRAWINGS: Final = 10_000
_CHARACTERS: Final = 32 * 1024 * 1024
_PICTURES: Final = 400
_BYTES: Final = 64 * 1024 * 1024
_PAINTERS: Final = 2  # at once: a picture of 4096 x 4096 takes some 200 MB while it is drawn


class Gallery:
    """Drawings by path, and the newest of their pictures."""

    def __init__(self, lot: Random) -> None:
        self._lot = lot
        self._drawings: Bounded[Drawing] = Bounded(_DRAWINGS, _CHARACTERS, lambda drawing: len(drawing.prompt))
        self._pictures: Bounded[bytes] = Bounded(_PICTURES, _BYTES, len)
        self._painters = asyncio.Semaphore(_PAINTERS)

    def hang(self, drawing: Drawing, day: str) -> str:
        """Promise a picture; the path at which it will be seen has the form of 302's own."""
        path = f"/gpt/imgs/{day}/{self._lot.getrandbits(128):032x}.png"
        self._drawings.put(path, drawing)
        return path

    async def look(self, path: str) -> bytes | None:
        """The picture at a path, drawn in a thread if need be; None if nothing hangs there (any more)."""
        if (drawing := self._drawings.get(path)) is None:
            return None
        if (seen := self._pictures.get(path)) is not None:
            return seen
        async with self._painters:
            # Somebody who waited in front of us may have had it drawn meanwhile.
            if (seen := self._pictures.get(path)) is None:
                seen = await asyncio.to_thread(draw, drawing)
                self._pictures.put(path, seen)
        return seen
