"""The one record of a request: filled on its way, told once to metrics and log when it is over."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import msgspec


class CacheState(IntEnum):
    """How a picture was come by, from the luckiest to the least lucky."""

    HIT = 0
    JOINED = 1
    MISS = 2
    BYPASS = 3

    @property
    def word(self) -> str:
        """As it stands in `x-gateway-cache` and in labels."""
        return WORDS[self]


WORDS = ("hit", "joined", "miss", "bypass")
HIT, JOINED, MISS, BYPASS = CacheState
"""Its members: Python 3.11 makes a call of each question to an enumeration."""


class Outcome(msgspec.Struct, gc=False, omit_defaults=True):
    """What happened to one request, field by field as the log tells it: never a prompt, a secret or a URL.

    `ms` is what it took, `micro_usd` the price of an image. `code` is `ok` or the error's code. What was not reached
    keeps its default, and is left out of the line.
    """

    request_id: str
    method: str
    endpoint: str = ""
    status: int = 0
    code: str = ""
    ms: float = 0.0
    team: str = ""
    key: str = ""
    model: str = ""
    prompt_length: int = 0
    prompt_sha256: str = ""
    cache: str = ""
    """The least lucky state of all pictures; empty where none was drawn."""
    images: int = 0
    states: tuple[str, ...] = ()
    micro_usd: int = 0
    adjusted: tuple[str, ...] = ()
    upstream_request_ids: tuple[str, ...] = ()
    error: dict[str, Any] | None = None
    """For our own faults only: the exception's type and trace."""

    def note(self, states: Sequence[CacheState]) -> None:
        """Note how each picture was come by; there is at least one."""
        self.states = tuple([WORDS[state] for state in states])
        self.cache, self.images = WORDS[max(states)], len(states)


def told_ms(seconds: float) -> float:
    """Milliseconds to two places, as the log has them; `round` to places works out decimal digits, which takes long."""
    return int(seconds * 100_000 + 0.5) / 100
