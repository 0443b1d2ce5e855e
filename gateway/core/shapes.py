"""Geometry as values: what can be asked (a ratio, a size) and what a model takes (a shape).

How an asked value is brought into a shape is decided in `gateway.core.coerce`, not here.
"""

import re
from functools import lru_cache
from typing import Final

import msgspec

# Five digits a side: larger pictures do not exist, and a bound keeps the arithmetic small.
_SIZE = re.compile(r"([1-9][0-9]{0,4})[xX*×]([1-9][0-9]{0,4})")  # some clients write the multiplication sign
_RATIO = re.compile(r"([1-9][0-9]{0,4}):([1-9][0-9]{0,4})")
# Longer texts are neither, and must not fill the memory of what was read before.
_LONGEST: Final = len("99999x99999")
MAX_SIDE = 99_999


class Ratio(msgspec.Struct, frozen=True, gc=False):
    """A ratio as written: 10:16 stays 10:16, since 302 lists it so."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}:{self.height}"


class Size(msgspec.Struct, frozen=True, gc=False):
    """Pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


Asked = Ratio | Size


def parse_geometry(text: str) -> Asked | None:
    """Read `16:9` as a ratio and `1024x1024` (also `*`, upper case) as pixels; None for anything else."""
    return _read(text) if len(text) <= _LONGEST else None


@lru_cache(1024)
def _read(text: str) -> Asked | None:
    if match := _SIZE.fullmatch(text):
        return Size(int(match[1]), int(match[2]))
    if match := _RATIO.fullmatch(text):
        return Ratio(int(match[1]), int(match[2]))
    return None


class Free(msgspec.Struct, frozen=True):
    """Takes whatever is asked."""

    kind = "free"

    def supported(self) -> tuple[str, ...]:
        """Name the accepted values, for people."""
        return ("any",)


class Ratios(msgspec.Struct, frozen=True):
    """Takes one of a list of ratios."""

    values: tuple[Ratio, ...]
    fallback: Ratio
    kind = "ratios"

    def supported(self) -> tuple[str, ...]:
        """Name the accepted values, for people."""
        return tuple(map(str, self.values))


class Sizes(msgspec.Struct, frozen=True):
    """Takes one of a list of sizes."""

    values: tuple[Size, ...]
    fallback: Size
    kind = "sizes"

    def supported(self) -> tuple[str, ...]:
        """Name the accepted values, for people."""
        return tuple(map(str, self.values))


class Sides(msgspec.Struct, frozen=True):
    """Takes any size whose two sides lie in the closed interval [low, high]."""

    low: int
    high: int
    fallback: int
    kind = "sides"

    def supported(self) -> tuple[str, ...]:
        """Name the accepted values, for people."""
        return (f"each side {self.low} to {self.high}",)


class Unshaped(msgspec.Struct, frozen=True):
    """Takes no geometry: the picture handed in decides."""

    kind = "none"

    def supported(self) -> tuple[str, ...]:
        """Name the accepted values, for people."""
        return ()


Shape = Free | Ratios | Sizes | Sides | Unshaped


def same_ratio(one: Asked, other: Asked) -> bool:
    """Whether two values have exactly the same proportions."""
    return one.width * other.height == one.height * other.width
