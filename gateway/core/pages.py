"""Long lists, a page at a time: the next one begins after the last entry of this, whatever is added meanwhile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.core.errors import invalid_value
from gateway.core.terms import read_time

Json = dict[str, Any]

MOST: Final = 100
_USUAL: Final = "20"
_DIGITS: Final = 3


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which page: so many entries after the one that `after` names."""

    limit: int = MOST
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries; `next` is what to ask `after` for more, None at the end."""

    data: list[Json]
    next: str | None = None

    def told(self) -> dict[str, object]:
        """As it is answered."""
        return {"object": "list", "data": self.data, "has_more": self.next is not None, "next": self.next}


@dataclass(frozen=True, slots=True)
class Sought:
    """Which rows of the ledger; times in seconds since 1970, `since` of the first and `until` after the last."""

    team: str | None = None
    key: str | None = None
    state: str | None = None
    model: str | None = None
    since: float | None = None
    until: float | None = None


def read_sought(query: Mapping[str, str]) -> Sought:
    """The rows that a query asks for.

    Raises:
        GatewayError: `invalid_value`, naming the parameter.
    """
    since, until = (read_time(name, query[name]) if query.get(name) else None for name in ("since", "until"))
    words = {name: query.get(name) or None for name in ("team", "key", "state", "model")}
    return Sought(**words, since=since, until=until)


def read_wanted(limit: str | None, after: str | None) -> Wanted:
    """The page that a query asks for.

    Raises:
        GatewayError: `invalid_value`, naming the parameter.
    """
    limit = limit or _USUAL
    if not (limit.isascii() and limit.isdigit() and len(limit) <= _DIGITS and 1 <= int(limit) <= MOST):
        raise invalid_value("limit", f"limit must be a whole number from 1 to {MOST}.")
    return Wanted(int(limit), after or None)


def page_of(found: Sequence[Json], wanted: Wanted, cursor: str) -> Page:
    """The page of what was found, one more than is wanted where there is more; `cursor` is the field to go on from."""
    data = list(found[: wanted.limit])
    return Page(data, str(data[-1][cursor]) if len(found) > wanted.limit else None)
