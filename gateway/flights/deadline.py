"""`asyncio.timeout` for the hot path, where its bookkeeping would cost a tenth of a whole cache hit."""

import asyncio
from types import TracebackType
from typing import Final, Self


class Deadline:
    """Ends what is awaited inside it with `TimeoutError`, `seconds` after it was entered."""

    def __init__(self, seconds: float) -> None:
        self._seconds: Final = seconds
        self._over = False

    def __enter__(self) -> Self:
        """Start the timer."""
        self._loop = asyncio.get_running_loop()
        # With the loop given, CPython 3.11 need not ask the kernel for the process id.
        self._task = asyncio.current_task(self._loop)
        self._timer = self._loop.call_later(self._seconds, self._end)
        return self

    def renew(self, seconds: float) -> None:
        """Move the end to `seconds` from now."""
        self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._end)

    def _end(self) -> None:
        # The loop runs this while the task waits inside, so the cancellation arrives there and nowhere else.
        self._over = True
        if self._task is not None:
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Stop the timer; a cancellation of its own making leaves as `TimeoutError`, any other as it came."""
        self._timer.cancel()
        if self._over and kind is asyncio.CancelledError and self._task is not None and self._task.uncancel() == 0:
            raise TimeoutError
