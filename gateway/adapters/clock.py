"""The machine's clock."""

import time


class SystemClock:
    """Wall clock and monotonic clock, in seconds."""

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()  # noqa: TID251 - this is the port

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()
