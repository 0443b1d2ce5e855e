"""Days and months of UTC, as budgets and usage are counted by them."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

_DAY: Final = 86_400.0


def day_of(now: float) -> str:
    """The day of UTC, `2026-11-22`."""
    return _written(now // _DAY)


@lru_cache(16)  # asked for with every request, and the same for a day
def _written(day: float) -> str:
    return datetime.fromtimestamp(day * _DAY, UTC).strftime("%Y-%m-%d")


def month_of(day: str) -> str:
    """The month of a day, `2026-11`."""
    return day[:7]


def next_month(day: str) -> str:
    """The first day of the month after."""
    year, month = int(day[:4]), int(day[5:7])
    return f"{year + month // 12:04d}-{month % 12 + 1:02d}-01"
