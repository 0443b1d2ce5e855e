"""What is about to be paid for, held on the budgets and written for all of a transaction at once."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, repeat
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, Connection, Double, Text, bindparam, false, insert, select

from gateway.adapters.money import COLUMNS, generation_of, moves_of
from gateway.adapters.prepared import Prepared, prepared
from gateway.adapters.tables import GENERATIONS, now
from gateway.core.budgets import exhausted
from gateway.core.errors import GatewayError
from gateway.core.ledger import Draft, Generation, Moment, State, earlier
from gateway.ports import Clock, EarlierError

_G: Final = GENERATIONS.c
# Of a fingerprint, which may be drawn afresh without end: what is older than so many such draws is not found.
_MOST_EARLIER: Final = 50
# Fingerprints or attempts that one statement asks for.
_MOST_AT_ONCE: Final = 64

_SINCE: Final = _G.created > now() - bindparam("back", type_=Double)
# The latest rows of a fingerprint or an attempt, each with the database's time.
_LATEST: Final = prepared(
    select(*COLUMNS, now().label("now"))
    .where(_G.fingerprint == bindparam("fingerprint"), _SINCE)
    .order_by(_G.created.desc())
    .limit(_MOST_EARLIER)
)
_OF_ATTEMPT: Final = prepared(
    select(*COLUMNS, now().label("now")).where(_G.attempt == bindparam("attempt")).order_by(_G.created.desc())
)
_WRITTEN: Final = (
    "id",
    "flight",
    "fingerprint",
    "attempt",
    "key",
    "team",
    "model",
    "state",
    "version",
    "owner",
    "upstream_key",
    "ttl",
    "day",
    "reserved",
)
_INSERT: Final = prepared(
    insert(GENERATIONS).values(
        **{name: bindparam(name) for name in _WRITTEN}, billed=false(), created=now(), sent=now()
    )
)
_UNSET: Final = dict.fromkeys(Generation.__struct_fields__)


class Wanted(NamedTuple):
    """A draft that is to be sent on an upstream key, on a day of UTC."""

    draft: Draft
    upstream_key: str
    day: str


@dataclass(frozen=True, slots=True)
class Holds:
    """What `owner` holds; an unknown outcome stands in the way of the same again for `unknown_hold` seconds.

    What began more than `back` seconds ago stands in the way of nothing but its own attempt.
    """

    clock: Clock
    owner: str
    unknown_hold: float
    back: float

    def each(self, connection: Connection, wanted: Sequence[Wanted]) -> list[Generation | EarlierError | GatewayError]:
        """Hold the price of each, and write that it is being sent: the row, or why it may not be."""
        known = self._known(connection, wanted)
        results: list[Generation | EarlierError | GatewayError] = []
        new: list[dict[str, Any]] = []
        for one in wanted:
            draft = one.draft
            if not known.isdisjoint(_names(draft)):
                _insert(connection, new)  # what it may join can be one of them
                if (before := self._earlier(connection, draft)) is not None:
                    draft.bill.hold(draft.id, draft.reserved)
                    results.append(EarlierError(before))
                    continue
            if (refusal := _hold(connection, one)) is not None:
                results.append(refusal)
                continue
            values = self._values(one)
            new.append(values)
            known.update(_names(draft))
            at = self.clock.now()  # ours, for want of the row's own: nothing compares it with the database's
            results.append(Generation(**{**_UNSET, **values, "state": State.SENT, "created": at, "sent": at}))
        _insert(connection, new)
        return results

    def _earlier(self, connection: Connection, draft: Draft) -> Generation | None:
        found = _LATEST.rows(connection, {"fingerprint": draft.fingerprint, "back": self.back})
        if draft.attempt is not None:
            found = [*_OF_ATTEMPT.rows(connection, {"attempt": draft.attempt}), *found]
        if not found:
            return None
        moment = Moment(found[0][-1], self.clock.monotonic())  # the last column is the database's now
        return earlier(draft, [generation_of(row) for row in found], moment, self.unknown_hold)

    def _known(self, connection: Connection, wanted: Sequence[Wanted]) -> set[str]:
        """Those of their fingerprints and attempts that the ledger has: most have none, and none of them is read."""
        fingerprints = [one.draft.fingerprint for one in wanted]
        attempts = [one.draft.attempt for one in wanted if one.draft.attempt is not None]
        found = _found(connection, "fingerprint", fingerprints, {"back": self.back})
        return {*found, *_found(connection, "attempt", attempts, {})}

    def _values(self, wanted: Wanted) -> dict[str, Any]:
        draft = wanted.draft
        return {
            "id": draft.id,
            "flight": draft.flight,
            "fingerprint": draft.fingerprint,
            "attempt": draft.attempt,
            "key": draft.caller.key,
            "team": draft.caller.team,
            "model": draft.model,
            "state": State.SENT.value,
            "version": 1,
            "owner": self.owner,
            "upstream_key": wanted.upstream_key or None,
            "ttl": draft.ttl,
            "day": wanted.day,
            "reserved": draft.reserved,
        }


def _hold(connection: Connection, wanted: Wanted) -> GatewayError | None:
    """Hold the price of what is wanted, or say why it may not be paid for."""
    draft, _, day = wanted
    if draft.refusal is not None:
        return draft.refusal
    moves = moves_of(connection)
    if (used_up := moves.used_up(draft.caller, day, draft.bill.open(draft.id))) is not None:
        return exhausted(used_up, day)
    draft.bill.hold(draft.id, draft.reserved)
    moves.hold(draft.caller, day, draft.reserved)
    return None


def _insert(connection: Connection, new: list[dict[str, Any]]) -> None:
    if new:
        _INSERT.change(connection, new)
        new.clear()


def _names(draft: Draft) -> tuple[str, ...]:
    return (draft.fingerprint,) if draft.attempt is None else (draft.fingerprint, draft.attempt)


def _found(connection: Connection, name: str, sought: Sequence[str], also: dict[str, float]) -> Collection[str]:
    found: set[str] = set()
    for start in range(0, len(sought), _MOST_AT_ONCE):
        some = sought[start : start + _MOST_AT_ONCE]
        # A statement for each power of two; what is left over of it asks for the first again.
        size = 1 << (len(some) - 1).bit_length()
        values: dict[str, Any] = {**also}
        values |= {
            f"sought_{index}": one for index, one in zip(range(size), chain(some, repeat(some[0])), strict=False)
        }
        found.update(row[0] for row in _which(name, size).rows(connection, values))
    return found


@cache
def _which(name: str, size: int) -> Prepared:
    column: Column[str] = _G[name]
    query = select(column).where(column.in_([bindparam(f"sought_{index}", type_=Text) for index in range(size)]))
    if column is _G.fingerprint:
        query = query.where(_SINCE)
    return prepared(query.distinct())
