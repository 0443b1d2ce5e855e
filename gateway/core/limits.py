"""Limits by the minute and at once: what they are, what came of asking, and what the caller is told of it.

All limits of a request, the key's and the team's, are decided together: none is taken where one refuses.
"""

from dataclasses import dataclass
from typing import Final, Literal

from gateway.core.keys import Caller

WINDOW: Final = 60.0
"""Seconds that `rpm` and `ipm` look back."""
LEASE: Final = 15.0
"""Seconds after which the place of a worker that died is free again."""

Measure = Literal["requests", "images", "concurrency"]
Owner = Literal["key", "team"]


@dataclass(frozen=True, slots=True)
class Limit:
    """So many of something, for a key or for its whole team."""

    measure: Measure
    owner: Owner
    most: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a caller stands with the tightest limit of a measure: `reset` is seconds until all of it is free again."""

    measure: Measure
    limit: int
    remaining: int
    reset: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """The limit that refuses longest, and the seconds after which the same request really fits.

    None where no wait helps: the request alone is more than the limit.
    """

    limit: Limit
    retry_after: float | None


def limits_of(caller: Caller) -> tuple[Limit, ...]:
    """The limits that hold for a caller; a key's never exceeds its team's."""
    team, key = caller.team_terms, caller.key_terms
    return (
        *_of("requests", key.rpm, team.rpm),
        *_of("images", key.ipm, team.ipm),
        *_of("concurrency", key.concurrency, team.concurrency),
    )


def _of(measure: Measure, key: int | None, team: int | None) -> list[Limit]:
    most_of_key = min(key, team) if key is not None and team is not None else key
    owners: list[tuple[Owner, int | None]] = [("key", most_of_key), ("team", team)]
    return [Limit(measure, owner, most) for owner, most in owners if most is not None]
