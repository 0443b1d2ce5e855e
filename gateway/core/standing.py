"""Where a caller stands with its limits, and how a span of time is written to it."""

from functools import lru_cache
from math import ceil
from typing import Literal

import msgspec

Measure = Literal["requests", "images", "concurrency"]


class Standing(msgspec.Struct, frozen=True, gc=False):
    """Where a caller stands with the tightest limit of a measure: `reset` is seconds until all of it is free again."""

    measure: Measure
    limit: int
    remaining: int
    reset: float


@lru_cache(maxsize=4096)
def go_duration(seconds: float) -> str:
    """A span of time in the words of OpenAI's headers, which are Go's, to the millisecond: `1m0s`, `6ms`, `20.5s`."""
    milliseconds = max(0, ceil(round(seconds * 1000, 3)))
    if 0 < milliseconds < 1000:  # noqa: PLR2004 - a second
        return f"{milliseconds}ms"
    whole, rest = divmod(milliseconds, 1000)
    minutes, whole = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    before = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    fraction = f".{rest:03}".rstrip("0") if rest else ""
    return f"{before}{whole}{fraction}s"
