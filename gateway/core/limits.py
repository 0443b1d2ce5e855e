"""Limits by the minute and at once: what they are, what came of asking, and what the caller is told of it.

All limits of a request, the key's and the team's, are decided together: none is taken where one refuses.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from gateway.core.errors import GatewayError, Kind, invalid_value
from gateway.core.keys import Caller
from gateway.core.standing import Measure, Standing, go_duration

__all__ = [
    "CROWDED",
    "LEASE",
    "WINDOW",
    "Admission",
    "Limit",
    "Measure",
    "OnAdmission",
    "Owner",
    "Refusal",
    "Standing",
    "Verdict",
    "go_duration",
    "limits_of",
    "refused",
    "standings_of",
]

WINDOW: Final = 60.0
"""Seconds that `rpm` and `ipm` look back."""
LEASE: Final = 15.0
"""Seconds after which the place of a worker that died is free again."""
CROWDED: Final = 1.0
"""Seconds to wait for a place among requests at once: nobody knows how long a picture takes."""
_LONGEST_WAIT: Final = 60.0

Owner = Literal["key", "team"]


@dataclass(frozen=True, slots=True)
class Limit:
    """So many of something, for a key or for its whole team."""

    measure: Measure
    owner: Owner
    most: int

    @property
    def name(self) -> str:
        """As it stands in metrics."""
        return f"{self.owner}_{self.measure}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The limit that refuses longest, and the seconds after which the same request really fits.

    None where no wait helps: the request alone is more than the limit.
    """

    limit: Limit
    retry_after: float | None


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What all limits together say: nothing was taken where there is a refusal. `leased`: a place at once was."""

    standings: tuple[Standing, ...]
    refusal: Refusal | None = None
    leased: bool = False


class Admission(msgspec.Struct, frozen=True):
    """A request that was let in.

    `standings` are of requests and images, as far as these are limited. `found` is what was looked up on the way, None
    where nobody asked or the cache was away. `leased`: it holds a place among requests at once.
    """

    standings: tuple[Standing, ...] = ()
    found: list[bytes | None] | None = None
    leased: bool = False


OnAdmission = Callable[[Admission | None], None]
"""Is told of an admission, or None where there was none."""


def limits_of(caller: Caller) -> tuple[Limit, ...]:
    """The limits that hold for a caller; a key's never exceeds its team's."""
    team, key = caller.team_terms, caller.key_terms
    return (
        *_of("requests", key.rpm, team.rpm),
        *_of("images", key.ipm, team.ipm),
        *_of("concurrency", key.concurrency, team.concurrency),
    )


def standings_of(used: Iterable[tuple[Limit, int, float]]) -> tuple[Standing, ...]:
    """The tightest standing of requests and of images, out of what is used of each limit and when all of it is free.

    What is used of one measure comes together, as in `limits_of`.
    """
    standings: list[Standing] = []
    for limit, count, reset in used:
        measure, most = limit.measure, limit.most
        if measure == "concurrency":
            continue
        remaining = most - count if count < most else 0
        known = standings[-1] if standings else None
        if known is None or known.measure != measure:
            standings.append(Standing(measure, most, remaining, reset))
        elif remaining < known.remaining or (remaining == known.remaining and most < known.limit):
            standings[-1] = Standing(measure, most, remaining, reset)
    return tuple(standings)


def refused(refusal: Refusal, standings: tuple[Standing, ...]) -> GatewayError:
    """The error that tells a refusal. Where no wait helps, the caller is not told to come again."""
    limit, wait = refusal.limit, refusal.retry_after
    owner = "this key" if limit.owner == "key" else "this key's team"
    if wait is not None:
        wait = min(wait, _LONGEST_WAIT)
        words = f"Rate limit reached for {owner} on {_WORDS[limit.measure]}: limit {limit.most}."
        message = f"{words} Please try again in {go_duration(wait)}."
        return GatewayError(Kind.RATE_LIMIT_EXCEEDED, message, retry_after=wait, standings=standings)
    if limit.measure == "images" and limit.most > 0:
        words = f"The limit of {owner} on {_WORDS['images']} is {limit.most}"
        error = invalid_value("n", f"{words}, and this request alone asks for more.")
    else:
        message = f"The limit of {owner} on {_WORDS[limit.measure]} is {limit.most}: nothing is let in."
        error = GatewayError(Kind.INSUFFICIENT_QUOTA, message)
    error.standings = standings
    return error


_WORDS: Final[dict[Measure, str]] = {
    "requests": "requests per minute",
    "images": "images per minute",
    "concurrency": "requests at once",
}


def _of(measure: Measure, key: int | None, team: int | None) -> list[Limit]:
    most_of_key = min(key, team) if key is not None and team is not None else key
    owners: list[tuple[Owner, int | None]] = [("key", most_of_key), ("team", team)]
    return [Limit(measure, owner, most) for owner, most in owners if most is not None]
