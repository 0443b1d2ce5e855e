"""A request on its way through the pipeline, as values: what was asked, what it became, what it is answered with.

The steps themselves are in `gateway.pipeline`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.core.coerce import Adjustment, Policy
from gateway.core.entry import Entry
from gateway.core.errors import invalid_value
from gateway.core.held import Held, Holding
from gateway.core.keys import Caller
from gateway.core.ledger import Bill
from gateway.core.outcome import HIT, CacheState, Outcome
from gateway.core.repeats import Repeat
from gateway.core.request import Dialect, Form
from gateway.core.standing import Standing
from gateway.core.translate import ImageFormat, Plan, Rules

# OpenAI counts tokens for its own models; 302 tells none, and clients crash where the object is missing.
NO_TOKENS: Final = {
    "total_tokens": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
}
# How an address in our own store is written in the cache: its origin is the caller's, who may come by several names.
MEDIA: Final = "media:"


def media_name(url: str) -> str | None:
    """The name of a picture in our own store; None for any other address."""
    return url.removeprefix(MEDIA) if url.startswith(MEDIA) else None


def located(url: str, origin: str) -> str:
    """Where a picture is for a caller who knows us by an origin."""
    name = media_name(url)
    return url if name is None else f"{origin}/v1/media/{name}"


@dataclass(frozen=True, slots=True)
class Options:
    """The settings the pipeline depends on; times in seconds."""

    policy: Policy = Policy.DOCUMENTED
    cache_scope: str = "gateway"
    answer_timeout: float = 290.0
    heartbeat: float = 15.0
    picture_ttl: int = 3600
    variation_prompt: str = "A variation of this picture."
    rules: Rules = Rules()


def stays() -> bool:
    """Of whoever cannot hang up."""
    return False


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A request as it came in: how to read its body, and what its headers ask of cache and coercion."""

    read: Callable[[], Awaitable[bytes | Form]]
    dialect: Dialect = Dialect.GENERATIONS
    model: str | None = None
    """The model of whose path this is; it decides over the body's."""
    patience: float | None = None
    """How many seconds the caller said to wait."""
    is_retry: bool = False
    """Whether an SDK says that it asks this again."""
    coercion: str | None = None
    look_up: bool = True
    keep: bool = True
    attempt: str | None = None
    """The Idempotency-Key: by it the same request is known when it comes again."""
    gone: Callable[[], bool] = stays
    """Whether the caller is known to have hung up."""
    body: bytes | None = None
    """The body, where it need not be read any more."""


class Picture(msgspec.Struct, frozen=True, gc=False):
    """One picture of the answer; `data` only where bytes were asked for. `ttl` in seconds, for a hit.

    `url` is 302's, or `media:` and a name in our own store.
    """

    url: str
    cache: CacheState
    ttl: int = 0
    stored: bool = False
    data: Held | None = None


def kept_picture(entry: Entry, now: float) -> Picture:
    """A picture that the cache has, as a hit; `now` in seconds since 1970."""
    return Picture(entry.url, HIT, ttl=max(0, int(entry.expires - now)))


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What the caller gets, before it is bytes. `created` in whole seconds since 1970."""

    created: int
    pictures: list[Picture]
    format: ImageFormat
    usage: bool
    adjustments: tuple[Adjustment, ...]
    standings: tuple[Standing, ...] = ()
    replayed: bool = False


class Understood(msgspec.Struct, frozen=True, gc=False):
    """What a body means; `digest` is of the prompt, for the log, as are the names of the `adjusted` fields."""

    plan: Plan
    adjusted: tuple[str, ...]
    format: ImageFormat
    usage: bool
    stream: bool
    prompt_length: int
    digest: str


class Order(msgspec.Struct, frozen=True, gc=False):
    """A request that is understood, on its way through the other steps. `deadline` in monotonic seconds.

    `place` is what it holds among the requests at once, `found` what was kept of its pictures when it was let in; None
    where nobody looked or the cache was away. That was after `looked`, in monotonic seconds, which is None for one that
    was not let in. `repeat` is how the same request ended before. `held` is closed by whoever sends the answer, or
    knows that there will be none.
    """

    caller: Caller
    plan: Plan
    format: ImageFormat
    usage: bool
    stream: bool
    asked: Asked
    deadline: float
    outcome: Outcome
    standings: tuple[Standing, ...] = ()
    found: list[bytes | None] | None = None
    looked: float | None = None
    place: "Place | None" = None
    repeat: Repeat | None = None
    held: Holding = msgspec.field(default_factory=Holding)
    bill: Bill = msgspec.field(default_factory=Bill)

    @property
    def replayed(self) -> bool:
        """Whether it is answered as it was before."""
        return self.repeat is not None

    def attempt(self, slot: int) -> str | None:
        """By what the ledger knows a picture of this very request."""
        return None if self.asked.attempt is None else f"{self.caller.key}:{self.asked.attempt}:{slot}"


class Place:
    """A place among the requests at once: held by a request, and by the flights it began, which may outlive it.

    The request holds it until it ends, or a flight took off for each of its `pictures`: from then on it waits for
    nothing but these.
    """

    def __init__(self, pictures: int) -> None:
        self._awaited: Final = set(range(pictures))
        self._flying: Final[set[int]] = set()
        self._is_held = True

    def take_off(self, slot: int) -> None:
        """A flight draws this picture from now on."""
        self._awaited.discard(slot)
        self._flying.add(slot)

    def land(self, slot: int) -> bool:
        """It is drawn, or will not be; whether the place has become free."""
        self._flying.discard(slot)
        return self._give_back()

    def leave(self) -> bool:
        """The request waits no longer; whether the place has become free."""
        self._awaited.clear()
        return self._give_back()

    def _give_back(self) -> bool:
        if self._awaited or self._flying or not self._is_held:
            return False
        self._is_held = False
        return True


def policy_of(name: str | None, default: Policy) -> Policy:
    """The policy that a caller named, or the default.

    Raises:
        GatewayError: `invalid_value`, naming the header.
    """
    if name is None:
        return default
    try:
        return Policy(name.strip().lower())
    except ValueError:
        message = f"x-gateway-coercion must be one of {', '.join(Policy)}."
        raise invalid_value("x-gateway-coercion", message) from None


def scope_of(cache_scope: str, caller: Caller) -> str:
    """Who shares pictures with this caller, as a part of the fingerprint."""
    match cache_scope:
        case "team":
            return f"team:{caller.team}"
        case "key":
            return f"key:{caller.key}"
        case _:
            return "gateway"
