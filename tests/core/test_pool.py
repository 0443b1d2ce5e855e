"""How keys fare: the table of causes, and the laws that keep a pool from being shut out, or locked up for ever."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import pool
from gateway.core.errors import GatewayError, Kind, Said
from gateway.core.pool import PROBE_EVERY, RULES, Cause, Complaint, Health, cause_of, struck, worked
from gateway.core.reply import Reply, read_answer

NOW = datetime(2026, 2, 27, 22, 30, tzinfo=UTC).timestamp()
MIDNIGHT = datetime(2026, 2, 28, tzinfo=UTC).timestamp()
MARCH = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
NEVER = float("inf")
M = "dall-e-3-t2i"


def answered(status: int, code: int | None = None, retry_after: str | None = None) -> GatewayError:
    body = b"{}" if code is None else b'{"error": {"err_code": %d}}' % code
    with pytest.raises(GatewayError) as caught:
        read_answer(Reply(status, body, retry_after))
    return caught.value


# What 302 answers: the cause, whether the call moves to another key, and when the key is whole again and is tried.
TABLE = [
    (401, None, Cause.REFUSED, True, NEVER, NOW + 900),
    (403, None, Cause.REFUSED, True, NEVER, NOW + 900),
    (401, -10001, Cause.REFUSED, True, NEVER, NOW + 900),
    (403, -10002, Cause.REFUSED, True, NEVER, NOW + 900),
    (503, -10005, Cause.REFUSED, True, NEVER, NOW + 900),
    (403, -10014, Cause.REFUSED, True, NEVER, NOW + 900),
    (402, None, Cause.BALANCE, True, NOW + 300, NOW + 900),
    (200, -10004, Cause.BALANCE, True, NOW + 300, NOW + 900),
    (403, -10006, Cause.QUOTA, True, NOW + 300, NOW + 900),
    (403, -10012, Cause.QUOTA, True, NOW + 300, NOW + 900),
    (403, -10007, Cause.QUOTA_DAY, True, MIDNIGHT, NOW + 900),
    (403, -10018, Cause.QUOTA_MONTH, True, MARCH, NOW + 900),
    (429, None, Cause.BUSY, True, NOW + 2, NOW + 2),
]


@pytest.mark.parametrize(("status", "code", "cause", "moves", "until", "probe"), TABLE)
def test_a_refusal_has_its_cause_and_its_time(
    status: int, code: int | None, cause: Cause, moves: bool, until: float, probe: float
) -> None:
    error = answered(status, code)

    found = cause_of(error)
    assert found is cause
    health = struck(Health(), Complaint(cause, M, NOW), NOW)

    assert RULES[cause].moves is moves
    assert not error.outcome_unknown
    assert health.out(NOW) is cause
    assert health.probe == probe
    assert health.out(min(until, NOW + 1e9) - 0.001) is cause
    assert (health.out(min(until, NOW + 1e9)) is None) == (until != NEVER)


def test_a_model_refused_is_no_other_model_refused() -> None:
    error = answered(403, -10013)
    health = struck(Health(), Complaint(Cause.MODEL, M, NOW), NOW)

    assert cause_of(error) is Cause.MODEL
    assert (health.out(NOW), health.out_for(M, NOW), health.out_for("other", NOW)) == (None, Cause.MODEL, None)
    assert [health.may_probe(M, moment) for moment in (NOW, NOW + PROBE_EVERY)] == [False, True]
    assert worked(health, "other", NOW, NOW).out_for(M, NOW) is Cause.MODEL
    assert worked(health, M, NOW, NOW) == Health(changed=NOW)


def test_refused_models_are_not_remembered_without_end() -> None:
    health = Health()
    for number in range(1000):
        health = struck(health, Complaint(Cause.MODEL, f"m{number}", NOW), NOW)

    assert list(health.models) == [f"m{number}" for number in range(936, 1000)]


@pytest.mark.parametrize(
    ("status", "code", "cause"),
    [
        (500, None, Cause.FAILING),
        (502, -10003, Cause.FAILING),
        (200, -10003, Cause.FAILING),
        (200, None, None),
        (400, None, None),
        (404, None, None),
        (503, -10008, None),
        (500, -1024, None),
        (504, -10504, None),
    ],
)
def test_what_says_nothing_of_the_key_is_no_complaint(status: int, code: int | None, cause: Cause | None) -> None:
    assert cause_of(answered(status, code)) is cause


def test_a_moderated_prompt_and_a_broken_connection_are_no_fault_of_the_key() -> None:
    moderated = GatewayError(Kind.CONTENT_POLICY, "")
    moderated.said = Said(403)

    assert cause_of(moderated) is None
    assert cause_of(GatewayError(Kind.UPSTREAM_UNKNOWN, "")) is None


@pytest.mark.parametrize(("said", "wait"), [("3", 3), ("3600", 60), ("0", 1), ("soon", 2), (None, 2)])
def test_a_busy_key_rests_as_long_as_302_asks_within_reason(said: str | None, wait: float) -> None:
    error = answered(429, retry_after=said)
    assert error.said

    health = struck(Health(), Complaint(Cause.BUSY, M, NOW, error.said.retry_after), NOW)

    assert health.until == NOW + wait


def test_a_key_that_stays_busy_backs_off_and_answers_of_one_moment_count_once() -> None:
    health, now, waits = Health(), NOW, []
    for _ in range(8):
        for _ in range(50):
            health = struck(health, Complaint(Cause.BUSY, M, now), now)
        waits.append(health.until - now)
        now = health.until

    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]
    assert worked(health, M, now, now).coolings == 0


def test_five_failures_in_a_row_cool_a_key_longer_each_time() -> None:
    health, now, waits = Health(), NOW, []
    for _ in range(12):
        for _ in range(4):
            health = pool.failed(health, now, may_cool=True)
            assert health.out(now) is None
        health = pool.failed(health, now, may_cool=True)
        assert health.out(now) is Cause.FAILING
        waits.append(health.until - now)
        now = health.until

    assert waits == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]


def test_a_success_between_failures_begins_the_count_anew() -> None:
    health = Health()
    for _ in range(20):
        for _ in range(4):
            health = pool.failed(health, NOW, may_cool=True)
        health = worked(health, M, NOW, NOW)

    assert health.out(NOW) is None


OK, FAILING = Health(), struck(Health(), Complaint(Cause.FAILING, M, NOW), NOW)
REFUSED = struck(Health(), Complaint(Cause.REFUSED, M, NOW), NOW)


@pytest.mark.parametrize(
    ("others", "allowed"),
    [
        ([], False),
        ([OK], True),
        ([REFUSED], False),
        ([FAILING], False),
        ([OK, OK], True),
        ([OK, FAILING], False),
        ([OK, OK, FAILING], True),
        ([OK, FAILING, FAILING], False),
        ([OK, REFUSED, REFUSED], True),
    ],
)
def test_at_most_half_of_the_keys_cool_for_failures_and_never_the_last(others: list[Health], allowed: bool) -> None:
    assert pool.may_cool(others, NOW) is allowed


def test_what_was_on_its_way_neither_frees_nor_softens() -> None:
    later = NOW + 60

    assert worked(REFUSED, M, NOW - 1, later) == REFUSED
    assert struck(REFUSED, Complaint(Cause.BUSY, M, NOW - 1), later) == REFUSED
    assert worked(REFUSED, M, later, later).out(later) is None


def busy(wait: float) -> Health:
    return struck(Health(), Complaint(Cause.BUSY, M, NOW, wait), NOW)


DRY = struck(Health(), Complaint(Cause.BALANCE, M, NOW), NOW)
NO_MODEL = struck(Health(), Complaint(Cause.MODEL, M, NOW), NOW)


@pytest.mark.parametrize(
    ("keys", "kind", "wait"),
    [
        pytest.param([REFUSED, REFUSED], Kind.UPSTREAM_CREDENTIALS, None, id="all refused"),
        pytest.param([NO_MODEL, REFUSED], Kind.UPSTREAM_CREDENTIALS, None, id="for this model"),
        pytest.param([DRY, DRY], Kind.UPSTREAM_BALANCE, None, id="all dry"),
        pytest.param([busy(30), busy(7)], Kind.UPSTREAM_RATE_LIMITED, 7, id="all busy: the soonest"),
        pytest.param([busy(0.1)], Kind.UPSTREAM_RATE_LIMITED, 1, id="at least a second"),
        pytest.param([busy(1000)], Kind.UPSTREAM_RATE_LIMITED, 60, id="at most a minute"),
        pytest.param([REFUSED, DRY, busy(9)], Kind.UPSTREAM_RATE_LIMITED, 9, id="mixed: what passes"),
        pytest.param([REFUSED, DRY], Kind.UPSTREAM_BALANCE, None, id="mixed: what may pass"),
        pytest.param([], Kind.UPSTREAM_CREDENTIALS, None, id="no keys"),
    ],
)
def test_without_a_key_the_caller_hears_what_helps_most(keys: list[Health], kind: Kind, wait: float | None) -> None:
    error = pool.exhausted(keys, M, NOW)

    assert (error.kind, error.retry_after) == (kind, wait)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*Cause, None]),
            st.floats(0, 1000),
            st.floats(0, 100),
            st.one_of(st.none(), st.floats(1, 60)),
        ),
        max_size=30,
    )
)
def test_no_key_is_locked_up_for_ever(events: list[tuple[Cause | None, float, float, float | None]]) -> None:
    """Whatever happened, a call may try the key within 15 minutes, and its success makes the key whole."""
    health, now = Health(), NOW
    for cause, passed, took, wait in events:
        now += passed
        if cause is None:
            health = worked(health, M, now - took, now)
        elif cause is Cause.FAILING:
            health = pool.failed(health, now, may_cool=True)
        else:
            health = struck(health, Complaint(cause, M, now - took, wait), now)
        if health.out_for(M, now) and health.may_probe(M, now):
            health = pool.probing(health, M, now)

    later = now + PROBE_EVERY
    assert health.out_for(M, later) is None or health.may_probe(M, later)
    assert worked(health, M, later, later).out_for(M, later) is None


def test_workers_believe_the_newest_and_nothing_that_no_clock_wrote() -> None:
    mine = Health(changed=NOW)
    newer = msgspec.structs.replace(REFUSED, changed=NOW + 1)
    absurd = [
        msgspec.structs.replace(REFUSED, changed=NOW + 10_000),
        msgspec.structs.replace(REFUSED, changed=NOW + 1, until=NOW + 1e9),
        msgspec.structs.replace(REFUSED, changed=NOW + 1, probe=NOW + 1e9),
        msgspec.structs.replace(REFUSED, changed=NOW + 1, models={M: NOW + 1e9}),
        msgspec.structs.replace(REFUSED, changed=NOW - 1),
    ]

    assert pool.newer(mine, newer, NOW) is newer
    assert [pool.newer(mine, theirs, NOW) for theirs in absurd] == [mine] * 5


def test_a_gateway_that_starts_tries_the_keys_it_inherits() -> None:
    assert pool.reborn(REFUSED, NOW).may_probe(M, NOW)
    assert pool.reborn(NO_MODEL, NOW).may_probe(M, NOW)
    assert not pool.reborn(busy(9), NOW).may_probe(M, NOW)


def test_a_keys_public_id_tells_nothing_of_it() -> None:
    assert pool.public_id("sk-one") == "k_456f1612"
