"""What is about to be paid for, held on the budgets and written for all of a transaction at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, repeat
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    Double,
    Select,
    Text,
    bindparam,
    exists,
    false,
    insert,
    literal_column,
    select,
    union_all,
)

from gateway.adapters.money import COLUMNS, generation_of, moves_of
from gateway.adapters.prepared import Prepared, Rows, prepared
from gateway.adapters.tables import GENERATIONS, IS_LOST, now
from gateway.adapters.writer import Transaction
from gateway.core.budgets import exhausted
from gateway.core.errors import GatewayError
from gateway.core.ledger import RETRIED_WITHIN, Draft, Generation, Moment, State, earlier, joined_within
from gateway.ports import Clock, EarlierError

_G: Final = GENERATIONS.c
# Fingerprints or attempts that one statement asks for.
_MOST_AT_ONCE: Final = 64
# Rows that are read of what may answer. Nearly all of them do, and then the newest is enough; what does not is pictures
# that were to be kept for seconds only, which come one after another.
_MOST_EARLIER: Final = 50
# No parameters: where one stands against an index' own condition, SQLite plans the statement anew each time.
_SUCCEEDED: Final[ColumnElement[str]] = literal_column(f"'{State.SUCCEEDED}'")
_FAILED: Final[ColumnElement[str]] = literal_column(f"'{State.FAILED}'")
_ZERO: Final[ColumnElement[int]] = literal_column("0")


def _within(column: Column[Any], seconds: str) -> ColumnElement[bool]:
    # The time is a query of its own: PostgreSQL would not look up in an index what may change from row to row.
    return column > select(now()).scalar_subquery() - bindparam(seconds, type_=Double)


# What `earlier` may choose of a fingerprint; whether it does is for its rules to say. Anybody may draw a picture afresh
# without end, and those rows, like those that surely cost nothing, answer hardly anybody: what does is found behind any
# number of them.
_IS_OURS: Final = _G.key == bindparam("key")
_IS_OF_FLIGHT: Final = _G.flight == bindparam("flight")
_IS_THERE: Final = _G.finished.is_(None) | ((_G.state == _SUCCEEDED) & _within(_G.finished, "joined"))
_IS_BROKEN: Final = (_G.state != _SUCCEEDED) & _within(_G.finished, "held")
_JOINED: Final = _IS_OF_FLIGHT & _IS_THERE
_TOLD: Final = _IS_OURS & (_IS_BROKEN | _within(_G.created, "retried"))
_IS_PAID: Final = (_G.state != _FAILED) | (_G.actual > _ZERO)
_IS_NEWER: Final = (_G.state != _SUCCEEDED) | (_G.created > bindparam("newer_than", type_=Double))
_MAY_ANSWER: Final = (_JOINED | _TOLD) & _IS_PAID & _IS_NEWER
# Those rows of the last time, and all of an attempt, newest first; then those of after an outage, which may be of any
# time, each by an index that has few others. Each row comes with the database's time.
_ROWS: Final[Select[Any]] = select(*COLUMNS, now().label("now"))
_RECENT: Final = prepared(
    _ROWS.where(_G.fingerprint == bindparam("fingerprint"), _within(_G.created, "back"), _MAY_ANSWER)
    # By a sum: by the column alone PostgreSQL may read the newest of all fingerprints, for which there is an index.
    .order_by((_G.created + _ZERO).desc())
    .limit(_MOST_EARLIER)
)
_OF_ATTEMPT: Final = prepared(_ROWS.where(_G.attempt == bindparam("attempt")).order_by(_G.created.desc()))
_OLDER: Final = prepared(
    union_all(
        _ROWS.where(_IS_OF_FLIGHT, _G.finished.is_(None)),
        _ROWS.where(_G.fingerprint == bindparam("fingerprint"), IS_LOST, _IS_OURS, _within(_G.finished, "held")),
    )
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
# Python 3.11 makes calls of these questions to an enumeration.
_SENT: Final = State.SENT
_SENT_WORD: Final = _SENT.value
_UNSET: Final = dict.fromkeys(Generation.__struct_fields__)


class Wanted(msgspec.Struct, frozen=True):
    """A draft that is to be sent on an upstream key, on a day of UTC."""

    draft: Draft
    upstream_key: str
    day: str


@dataclass(frozen=True, slots=True)
class Holds:
    """What `owner` holds; an unknown outcome stands in the way of the same again for `unknown_hold` seconds.

    A picture that was begun more than `back` seconds ago stands in the way of nothing but its own attempt.
    """

    clock: Clock
    owner: str
    unknown_hold: float
    back: float

    def each(
        self, transaction: Transaction, wanted: Sequence[Wanted]
    ) -> list[Generation | EarlierError | GatewayError]:
        """Hold the price of each, and write that it is being sent: the row, or why it may not be."""
        known = self._known(transaction, wanted)
        results: list[Generation | EarlierError | GatewayError] = []
        new: list[dict[str, Any]] = []
        read: dict[tuple[object, ...], Rows] = {}
        for one in wanted:
            draft = one.draft
            found: list[Sequence[Any]] = []
            if draft.attempt in known:
                _insert(transaction, new)  # it can be that of one of them
                found += _OF_ATTEMPT.rows(transaction, {"attempt": draft.attempt})
            if draft.fingerprint in known:
                if (alike := _alike(draft)) not in read:
                    _insert(transaction, new)  # what it may join can be one of them
                    read[alike] = self._of_fingerprint(transaction, draft)
                found += read[alike]
            if found and (before := self._earlier(draft, found)) is not None:
                draft.bill.hold(draft.id, draft.reserved)
                results.append(EarlierError(before))
                continue
            if (refusal := _hold(transaction, one)) is not None:
                results.append(refusal)
                continue
            values = self._values(one)
            new.append(values)
            known.add(draft.fingerprint)
            if draft.attempt is not None:
                known.add(draft.attempt)
            at = self.clock.now()  # ours, for want of the row's own: nothing compares it with the database's
            results.append(Generation(**{**_UNSET, **values, "state": _SENT, "created": at, "sent": at}))
        _insert(transaction, new)
        return results

    def _earlier(self, draft: Draft, found: Rows) -> Generation | None:
        moment = Moment(found[0][-1], self.clock.monotonic())  # the last column is the database's now
        return earlier(draft, [generation_of(row) for row in found], moment, self.unknown_hold)

    def _of_fingerprint(self, transaction: Transaction, draft: Draft) -> Rows:
        sought: dict[str, Any] = {
            "fingerprint": draft.fingerprint,
            "flight": draft.flight,
            "key": draft.caller.key,
            "back": self.back,
            "joined": joined_within(draft, self.clock.monotonic()),
            "retried": RETRIED_WITHIN if draft.is_retry else 0.0,
            "held": self.unknown_hold,
            "newer_than": draft.newer_than or 0.0,
        }
        return [*_RECENT.rows(transaction, sought), *_OLDER.rows(transaction, sought)]

    def _known(self, transaction: Transaction, wanted: Sequence[Wanted]) -> set[str]:
        """Those of their fingerprints and attempts that the ledger has: most have none, and none of them is read."""
        fingerprints = [one.draft.fingerprint for one in wanted]
        attempts = [one.draft.attempt for one in wanted if one.draft.attempt is not None]
        found = _found(transaction, "fingerprint", fingerprints, {"back": self.back})
        return found | _found(transaction, "attempt", attempts, {})

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
            "state": _SENT_WORD,
            "version": 1,
            "owner": self.owner,
            "upstream_key": wanted.upstream_key or None,
            "ttl": draft.ttl,
            "day": wanted.day,
            "reserved": draft.reserved,
        }


def _hold(transaction: Transaction, wanted: Wanted) -> GatewayError | None:
    """Hold the price of what is wanted, or say why it may not be paid for."""
    draft, day = wanted.draft, wanted.day
    if draft.refusal is not None:
        return draft.refusal
    moves = moves_of(transaction)
    if (used_up := moves.used_up(draft.caller, day, draft.bill.open(draft.id))) is not None:
        return exhausted(used_up, day)
    draft.bill.hold(draft.id, draft.reserved)
    moves.hold(draft.caller, day, draft.reserved)
    return None


def _insert(transaction: Transaction, new: list[dict[str, Any]]) -> None:
    if new:
        _INSERT.change(transaction, new)
        new.clear()


def _alike(draft: Draft) -> tuple[object, ...]:
    """Drafts of a group that have the same are told of the same rows, so that a crowd of fresh pictures reads once.

    A fresh picture joins nobody: what its own group has begun since answers none of it, but by its attempt.
    """
    joins_none = draft.flight == draft.id and not draft.is_retry
    return (draft.fingerprint, draft.caller.key, draft.newer_than) if joins_none else (draft.id,)


def _found(transaction: Transaction, name: str, sought: Sequence[str], also: dict[str, float]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(sought), _MOST_AT_ONCE):
        some = sought[start : start + _MOST_AT_ONCE]
        # A statement for each power of two; what is left over of it asks for the first again.
        size = 1 << (len(some) - 1).bit_length()
        values: dict[str, Any] = {**also}
        values |= {
            f"sought_{index}": one for index, one in zip(range(size), chain(some, repeat(some[0])), strict=False)
        }
        found.update([row[0] for row in _which(name, size).rows(transaction, values)])
    return found


@cache
def _which(name: str, size: int) -> Prepared:
    # A list that is selected from, not an IN: for three of those SQLite would build three tables.
    one = union_all(*(select(bindparam(f"sought_{n}", type_=Text).label("one")) for n in range(size))).subquery().c.one
    if name == "attempt":
        return prepared(select(one).where(exists().where(_G.attempt == one)))
    return prepared(
        select(one).where(
            # Not `_within`: of a table that it knows nothing of yet, PostgreSQL would read too much for that.
            exists().where(_G.fingerprint == one, _G.created > now() - bindparam("back", type_=Double))
            | exists().where(_G.flight == one, _G.finished.is_(None))
            | exists().where(_G.fingerprint == one, IS_LOST)
        )
    )
