"""How each of our keys at 302 stands, and what 302's complaints do to it.

PURE: time comes in as seconds since 1970, chance not at all. A complaint has a cause, a cause has a rule, and a rule
says whether the key is ejected or cools, whether the request may move on to another key, and what a caller hears when
there is none. Sources: 302's help centre (statuses) and its apps' tables (`err_code`); that these refusals cost nothing
follows from their wording.

A key whose wait is long is tried early: every `PROBE_EVERY` one real request goes out on it, for a synthetic one would
cost money, and nobody tells us that an account was topped up or a key enabled again.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Literal, NamedTuple

import msgspec

from gateway.core.errors import GatewayError, Kind
from gateway.core.reply import MAX_RETRY_AFTER

PROBE_EVERY: Final = 900.0
# While one request tries a key that is out, others wait for its outcome this long before the next one tries.
PROBING: Final = 5.0
_PAUSE: Final = 300.0
_FIRST_BACK_OFF: Final = 2.0
_MOST_DOUBLINGS: Final = 5
_FAILURES_IN_A_ROW: Final = 5
_COOL_A_FAILURE: Final = 30.0
_SERVER_ERROR: Final = 500
_NETWORK_ERROR: Final = -10003
_MOST_MODELS: Final = 64
_LONGEST: Final = 32 * 86_400.0
_SKEW: Final = 60.0

State = Literal["ok", "cooling", "ejected"]


class Cause(StrEnum):
    """Why a key cannot be used; a later one outweighs an earlier one."""

    FAILING = "failing"
    BUSY = "busy"
    QUOTA = "quota"
    BALANCE = "balance"
    QUOTA_DAY = "daily-quota"
    QUOTA_MONTH = "monthly-quota"
    MODEL = "model-refused"
    REFUSED = "refused"


class Rule(NamedTuple):
    """What a cause means: for the key, for the request, and for a caller who can be given no other key."""

    state: State
    moves: bool
    kind: Kind


RULES: Final[Mapping[Cause, Rule]] = {
    # A 5xx is an unknown outcome: the key may rest, but the request is never sent again.
    Cause.FAILING: Rule("cooling", moves=False, kind=Kind.UPSTREAM_UNKNOWN),
    Cause.BUSY: Rule("cooling", moves=True, kind=Kind.UPSTREAM_RATE_LIMITED),
    Cause.QUOTA: Rule("cooling", moves=True, kind=Kind.UPSTREAM_BALANCE),
    Cause.BALANCE: Rule("cooling", moves=True, kind=Kind.UPSTREAM_BALANCE),
    Cause.QUOTA_DAY: Rule("cooling", moves=True, kind=Kind.UPSTREAM_BALANCE),
    Cause.QUOTA_MONTH: Rule("cooling", moves=True, kind=Kind.UPSTREAM_BALANCE),
    Cause.MODEL: Rule("ejected", moves=True, kind=Kind.UPSTREAM_CREDENTIALS),
    Cause.REFUSED: Rule("ejected", moves=True, kind=Kind.UPSTREAM_CREDENTIALS),
}
_WEIGHT: Final = {cause: weight for weight, cause in enumerate(Cause)}
_BY_CODE: Final = {
    -10006: Cause.QUOTA,
    -10007: Cause.QUOTA_DAY,
    -10012: Cause.QUOTA,  # of an hour
    -10013: Cause.MODEL,
    -10018: Cause.QUOTA_MONTH,
}
_BY_KIND: Final = {
    Kind.UPSTREAM_CREDENTIALS: Cause.REFUSED,
    Kind.UPSTREAM_BALANCE: Cause.BALANCE,
    Kind.UPSTREAM_RATE_LIMITED: Cause.BUSY,
}
_MESSAGES: Final = {
    Kind.UPSTREAM_CREDENTIALS: "302.AI accepts none of the gateway's keys; whoever runs the gateway must look.",
    Kind.UPSTREAM_BALANCE: "The gateway's keys at 302.AI have used up their balance or quota.",
    Kind.UPSTREAM_RATE_LIMITED: "302.AI is busy and asks to slow down.",
}


class Health(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a key stands. `since`, `until`, `probe` and `changed` are moments; workers share the newest by `changed`.

    `until` is when a cooling key is whole again, `probe` when one request may try it before that. `failures` counts
    server errors in a row, `coolings` how often in a row it had to cool for `cause`. `models` are those that it was
    refused for, each with the moment at which one request may try again.
    """

    state: State = "ok"
    cause: Cause | None = None
    since: float = 0.0
    until: float = 0.0
    probe: float = 0.0
    failures: int = 0
    coolings: int = 0
    models: dict[str, float] = {}
    changed: float = 0.0

    def out(self, now: float) -> Cause | None:
        """Why it cannot be used at all; None when it can."""
        if self.state == "ok" or (self.state == "cooling" and now >= self.until):
            return None
        return self.cause

    def out_for(self, model: str, now: float) -> Cause | None:
        """Why it cannot be used for a model."""
        return self.out(now) or (Cause.MODEL if model in self.models else None)

    def may_probe(self, model: str, now: float) -> bool:
        """Whether it is time for one request to try a key that is out."""
        moments = [self.probe] if self.out(now) else []
        moments += [self.models[model]] if model in self.models else []
        return all(now >= moment for moment in moments)


def public_id(secret: str) -> str:
    """The name under which a key may be shown."""
    return f"k_{hashlib.sha256(secret.encode()).hexdigest()[:8]}"


def cause_of(error: GatewayError) -> Cause | None:
    """What a failed call says about its key; None where it says nothing."""
    said = error.said
    if said is None or error.kind is Kind.CONTENT_POLICY:
        return None
    if cause := _BY_CODE.get(said.code or 0) or _BY_KIND.get(error.kind):
        return cause
    failing = error.kind is Kind.UPSTREAM_UNKNOWN and (said.status >= _SERVER_ERROR or said.code == _NETWORK_ERROR)
    return Cause.FAILING if failing else None


class Complaint(NamedTuple):
    """What 302 said of a key on a call for `model`, begun at `asked`; `wait` is what it asked for, in seconds."""

    cause: Cause
    model: str
    asked: float
    wait: float | None = None


def struck(health: Health, complaint: Complaint, now: float) -> Health:
    """A key after a complaint.

    Of two causes the weightier stays, unless the call began after that: a key that was ejected is not set free by a 429
    that was on its way.
    """
    cause, model, asked, wait = complaint
    if cause is Cause.MODEL:
        newest = [*((name, moment) for name, moment in health.models.items() if name != model)][1 - _MOST_MODELS :]
        return msgspec.structs.replace(health, models=dict([*newest, (model, now + PROBE_EVERY)]), changed=now)
    before = health.out(now)
    if before is not None and asked < health.since and _WEIGHT[before] > _WEIGHT[cause]:
        return health
    again = before is cause
    coolings = health.coolings if again else health.coolings + 1 if health.cause is cause else 1
    until = _until(cause, coolings, now, wait)
    return msgspec.structs.replace(
        health,
        state=RULES[cause].state,
        cause=cause,
        since=health.since if again else now,
        until=max(until, health.until) if again and cause is Cause.BUSY else until,
        # A busy key is left alone as long as 302 asks for.
        probe=until if cause is Cause.BUSY else now + PROBE_EVERY,
        failures=0,
        coolings=coolings,
        changed=now,
    )


def failed(health: Health, now: float, *, may_cool: bool) -> Health:
    """A key after a server error: the fifth in a row cools it, if it may."""
    if health.out(now) is not None:
        return health
    failures = health.failures + 1
    if failures >= _FAILURES_IN_A_ROW and may_cool:
        return struck(health, Complaint(Cause.FAILING, "", now), now)
    return msgspec.structs.replace(health, failures=failures)


def may_cool(others: Iterable[Health], now: float) -> bool:
    """Whether a key may cool for server errors: at most half of all do, and never the last that can be used."""
    causes = [other.out(now) for other in others]
    return None in causes and 2 * (causes.count(Cause.FAILING) + 1) <= len(causes) + 1


def worked(health: Health, model: str, asked: float, now: float) -> Health:
    """A key after a call for `model`, begun at `asked`, that 302 took: whole again, unless it was struck after that."""
    models = {name: moment for name, moment in health.models.items() if name != model}
    if health.state == "ok" or asked >= health.since or health.out(now) is None:
        if health == Health(models=models, changed=health.changed):
            return health
        return Health(models=models, changed=now)
    return health if models == health.models else msgspec.structs.replace(health, models=models, changed=now)


def probing(health: Health, model: str, now: float) -> Health:
    """A key while one request tries it."""
    models = {**health.models, model: now + PROBING} if model in health.models else health.models
    return msgspec.structs.replace(health, probe=now + PROBING, models=models, changed=now)


def reborn(health: Health, now: float) -> Health:
    """A key as a gateway that just started takes it over: it may have been mended, so the next call tries it."""
    models = dict.fromkeys(health.models, now)
    return msgspec.structs.replace(
        health, models=models, probe=health.probe if health.cause is Cause.BUSY else min(health.probe, now)
    )


def same(one: Health, other: Health) -> bool:
    """Whether two differ in nothing that another worker need know."""
    return one == msgspec.structs.replace(other, failures=one.failures, changed=one.changed)


def newer(mine: Health, theirs: Health, now: float) -> Health:
    """What to believe of what two workers say. Moments that no clock of ours can have written are not believed."""
    latest = max([theirs.since, theirs.until, theirs.probe, *theirs.models.values()])
    believable = theirs.changed <= now + _SKEW and latest <= now + _LONGEST
    return theirs if believable and theirs.changed > mine.changed else mine


def exhausted(keys: Iterable[Health], model: str, now: float) -> GatewayError:
    """What a caller hears when no key is left: the error that passes soonest, of those that the keys have."""
    found = [(health, cause) for health in keys if (cause := health.out_for(model, now)) is not None]
    kinds = [RULES[cause].kind for _, cause in found]
    waits = [health.until - now for health, cause in found if cause is Cause.BUSY]
    if waits:
        kind, wait = Kind.UPSTREAM_RATE_LIMITED, min(max(min(waits), 1.0), MAX_RETRY_AFTER)
        return GatewayError(kind, _MESSAGES[kind], retry_after=wait)
    kind = Kind.UPSTREAM_BALANCE if Kind.UPSTREAM_BALANCE in kinds else Kind.UPSTREAM_CREDENTIALS
    return GatewayError(kind, _MESSAGES[kind])


def _until(cause: Cause, coolings: int, now: float, wait: float | None) -> float:
    match cause:
        case Cause.FAILING:
            return now + min(_COOL_A_FAILURE * coolings, _PAUSE)
        case Cause.BUSY:
            back_off = min(_FIRST_BACK_OFF * 2.0 ** min(coolings - 1, _MOST_DOUBLINGS), MAX_RETRY_AFTER)
            return now + (back_off if wait is None else wait)
        case Cause.QUOTA_DAY:
            return _midnight(now)
        case Cause.QUOTA_MONTH:
            return _next_month(now)
        case _:
            return now + _PAUSE


# In UTC: 302's help centre names the browser's own midnight, so the early tries matter more than the hour does.
def _midnight(now: float) -> float:
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (today + timedelta(days=1)).timestamp()


def _next_month(now: float) -> float:
    first = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1).timestamp()
