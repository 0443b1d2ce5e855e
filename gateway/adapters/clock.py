"""The machine's clock."""

import time


class SystemClock:
    """Wall clock (seconds since 1970) and monotonic clock (seconds that never go back)."""

    now = staticmethod(time.time)  # noqa: TID251 - everybody else is given this clock
    monotonic = staticmethod(time.monotonic)
