"""Those for whom a picture is drawn, and whether any of them is still there."""

import asyncio
from collections.abc import Callable
from typing import Final

from gateway.core.errors import GatewayError, Kind

_GONE: Final = "Whoever asked for this hung up before anything was sent; nothing was paid."


class Audience:
    """All who wait for one flight. Before it is paid for, and only then, it ends where all of them have hung up.

    A worker that stood still finds requests whose clients gave up on it long ago, and have been answered by another.
    """

    def __init__(self) -> None:
        self._gone: Final[list[Callable[[], bool]]] = []

    def add(self, gone: Callable[[], bool]) -> None:
        """One more waits; `gone` tells whether it has hung up."""
        self._gone.append(gone)

    def check(self) -> None:
        """Raise `client_closed_request` where nobody is there any more; who never was there does not count."""
        if self._gone and all(gone() for gone in self._gone):
            raise GatewayError(Kind.CLIENT_CLOSED_REQUEST, _GONE)


async def look_around() -> None:
    """Let the event loop hear who has hung up by now, though it may have stood still until this very moment.

    What is ready is run before sockets are asked, so that only the second turn comes after what they said.
    """
    await asyncio.sleep(0)
    await asyncio.sleep(0)
