"""The ledger's rules: the states of a generation, and what an earlier one means for a request that comes now."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from gateway.core.errors import KIND_OF_CODE, GatewayError, Kind
from gateway.core.keys import Caller
from gateway.core.limits import LEASE

RETRIED_WITHIN: Final = 900.0
"""Seconds in which a request that an SDK marks as a retry finds what its first attempt paid for."""
REPEATED_WITHIN: Final = 86_400.0
"""Seconds for which an Idempotency-Key stands."""
# A request that looked into the cache just before the picture was kept comes to the ledger just after, or when its
# worker has stood still for a while. There it must find what came since, and shortly before, on its way to the cache.
# Both are in seconds.
_LINGER: Final = 2.0
# One that could not look, for the cache was away, may have stood still before that. As long as a worker's lease is by
# default, whatever it is set to: what is older is a miss, as everything is then.
_LINGER_UNSEEN: Final = LEASE


class State(StrEnum):
    """Where a generation is.

    `sent` is written before the first byte of the POST can leave, together with the hold on the budgets: whatever
    happens afterwards, 302 may have been paid. `accepted` knows 302's task id and can be resumed by anybody. `failed`
    with an actual cost was billed without a picture.
    """

    SENT = "sent"
    ACCEPTED = "accepted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Bill:
    """What one request is about to pay for: all of it must fit its budgets before any of it is sent. In micro-USD."""

    def __init__(self) -> None:
        self._wanted = 0
        self._held: dict[str, int] = {}

    def want(self, price: int) -> None:
        """One more picture is to be paid for."""
        self._wanted += price

    def open(self, id_: str) -> int:
        """What is still to be held, by this generation and those after it."""
        return self._wanted - sum([price for held, price in self._held.items() if held != id_])

    def hold(self, id_: str, price: int) -> None:
        """A generation holds its price, or needs none; told twice it counts once."""
        self._held[id_] = price


class Draft(msgspec.Struct, frozen=True, gc=False):
    """A generation that is about to be paid for.

    `fingerprint` names the picture, and `flight` what others may join: the fingerprint, or the caller's own name for it
    where a fresh picture was asked for. `attempt` names this picture of this very request, when it comes again.
    `bill` is shared by all drafts of a request, and changes.
    `reserved` is the plan's price of the one picture, in micro-USD; `ttl` the seconds that it may be kept in the cache.
    """

    id: str
    flight: str
    fingerprint: str
    caller: Caller
    model: str
    reserved: int
    ttl: int
    bill: Bill
    attempt: str | None = None
    is_retry: bool = False
    looked: float | None = None
    """When the cache was to be asked for the picture, in monotonic seconds of this process; None for now."""
    saw: bool = True
    """Whether the cache answered."""
    lag: float = 0.0
    """Within how many seconds after its end in the ledger a picture is kept for good, where that is not at once."""
    newer_than: float | None = None
    """Only pictures begun after this are joined, for that one was lost: seconds since 1970 by the database's clock."""
    refusal: GatewayError | None = None
    """Why nothing new may be paid for, where it may not: then it can only join."""


class Generation(msgspec.Struct, frozen=True, gc=False):
    """A row of the ledger. Times are seconds since 1970 by the database's clock, money is micro-USD.

    `version` is the fence: who moves the row must know it. `day` is the day of UTC whose budgets hold `reserved`.
    """

    id: str
    flight: str
    fingerprint: str
    attempt: str | None
    key: str
    team: str
    model: str
    state: State
    version: int
    owner: str
    upstream_key: str | None
    task_id: str | None
    request_id: str | None
    ttl: int
    day: str
    reserved: int
    actual: int | None
    created: float
    sent: float | None
    finished: float | None
    url: str | None
    error_code: str | None
    error_message: str | None

    @property
    def error(self) -> GatewayError:
        """The failure, as every waiter is told it."""
        kind = KIND_OF_CODE.get(self.error_code or "", Kind.INTERNAL_ERROR)
        return GatewayError(kind, self.error_message or "The picture could not be drawn.")

    @property
    def drawn(self) -> str | None:
        """Where its picture lies; None where none is known to be paid."""
        return self.url if self.state is State.SUCCEEDED else None


class Ending(msgspec.Struct, frozen=True, gc=False):
    """How a generation ended: with the URL of its picture, or with an error; `actual` is its cost in micro-USD."""

    state: State
    actual: int | None
    url: str | None = None
    error: GatewayError | None = None
    request_id: str = ""


def id_of(now: float, chance: bytes) -> str:
    """The id of a generation that begins now; ten bytes of chance tell it from all others.

    Those that begin together stand together in the database's index, so that a commit writes one page for all of them.
    """
    return (int(now * 1000).to_bytes(6, "big") + chance).hex()


class Moment(NamedTuple):
    """Now: `database` in seconds since 1970 by the database's clock, `here` in monotonic seconds of this process."""

    database: float
    here: float


def earlier(draft: Draft, rows: Sequence[Generation], now: Moment, unknown_hold: float) -> Generation | None:
    """The generation that a request joins or is answered with, instead of paying again; None where it must pay.

    `rows` are those of its attempt, then those of its fingerprint, each newest first, and no others: whether a row of
    its own caller is of this picture is not asked again here. Rows that could not answer may be left out.
    `unknown_hold` is in seconds.
    """
    return next((row for row in rows if _answers(row, draft, now, unknown_hold)), None)


def joined_within(draft: Draft, here: float) -> float:
    """For how many seconds after its end a picture may be joined: so long a look into the cache may not have seen it.

    `here` is in monotonic seconds of this process.
    """
    lingers = _LINGER + draft.lag
    return _waited(draft, here) + (lingers if draft.saw else max(lingers, _LINGER_UNSEEN))


def _answers(row: Generation, draft: Draft, now: Moment, unknown_hold: float) -> bool:
    own = row.key == draft.caller.key
    age = now.database - row.created
    again = own and draft.attempt is not None and row.attempt == draft.attempt and age < REPEATED_WITHIN
    again = again or (own and draft.is_retry and age < RETRIED_WITHIN)
    if row.finished is None:
        return again or row.flight == draft.flight
    since = now.database - row.finished
    match row.state:
        case State.SUCCEEDED if draft.newer_than is not None and row.created <= draft.newer_than:
            return False
        case State.SUCCEEDED:
            return again or (row.flight == draft.flight and since < _lingers(row, draft, now.here))
        case State.FAILED if not row.actual:
            return False  # what surely cost nothing may be tried again
        case _:
            # Unknown, or unknown until its bill came: billed without a picture.
            return again or (own and since < unknown_hold)


def _lingers(row: Generation, draft: Draft, here: float) -> float:
    """For how many seconds after its end this picture is joined."""
    # One that was kept for less than that is not wanted any longer, but by whoever has waited all the time.
    return min(joined_within(draft, here), max(_LINGER, row.ttl) + draft.lag + _waited(draft, here))


def _waited(draft: Draft, here: float) -> float:
    return 0.0 if draft.looked is None else here - draft.looked
