"""When what is to be written is handed to the database's writer: a commit costs as much CPU as ten jobs that share it.

PostgreSQL knows the same as commit_delay. Here waiting ends as soon as the event loop is idle: who might have more to
write waits for something itself then, and the disk is waited for while nothing else is to be done.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

# In seconds.
_LONGEST: Final = 0.004
# A turn of the loop that took no longer did nothing else. Where even an empty one takes longer, 4 ms are waited.
_IDLE_TURN: Final = 0.000_02
# Where this many usually share a commit, the next one waits for more of them, as with PostgreSQL's commit_siblings. Who
# comes alone never waits.
_SIBLINGS: Final = 1.5
# "Usually" is an exponential moving average, over about so many commits.
_AVERAGED_OVER: Final = 8


class CommitDelay:
    """Has a group written at the end of the loop's turn; where many come, once the loop is idle, or after 4 ms."""

    def __init__(self, write: Callable[[], None]) -> None:
        self._write: Final = write
        self._usual = 1.0
        self._is_waiting = False

    def came(self, loop: asyncio.AbstractEventLoop) -> None:
        """Something is to be written."""
        if not self._is_waiting:
            self._is_waiting = True
            # The turn that is under way did something.
            loop.call_soon(self._turn, loop, time.perf_counter(), 0.0)

    def shared(self, many: int) -> None:
        """So many have shared a commit."""
        self._usual += (many - self._usual) / _AVERAGED_OVER

    def _turn(self, loop: asyncio.AbstractEventLoop, since: float, before: float) -> None:
        now = time.perf_counter()
        if self._usual > _SIBLINGS and now - before > _IDLE_TURN and now - since < _LONGEST:
            loop.call_soon(self._turn, loop, since, now)
            return
        self._is_waiting = False
        self._write()
