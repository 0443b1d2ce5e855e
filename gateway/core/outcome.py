"""The one record of a request: filled on its way, told once to metrics and log when it is over."""

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
        return self.name.lower()


class Outcome(msgspec.Struct, gc=False):
    """What happened to one request. Never a prompt, a secret or a URL: all of it is logged.

    Times are in seconds, prices in micro-USD. `code` is `ok` or the error's code.
    """

    request_id: str
    endpoint: str = "other"
    method: str = ""
    status: int = 0
    code: str = "ok"
    team: str = ""
    key: str = ""
    model: str = ""
    price: int = 0
    cache: tuple[CacheState, ...] = ()
    adjusted_fields: tuple[str, ...] = ()
    prompt_length: int = 0
    prompt_digest: str = ""
    seconds: float = 0.0
    upstream_request_ids: tuple[str, ...] = ()
    error: dict[str, Any] | None = None
    """For our own faults only: the exception's type and traceback."""

    @property
    def cache_word(self) -> str:
        """The least lucky state of all pictures; empty where none was drawn."""
        return max(self.cache).word if self.cache else ""
