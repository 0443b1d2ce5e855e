"""Whose earlier generation a request is answered with."""

from typing import Any

import msgspec
import pytest

from gateway.core.keys import Caller
from gateway.core.ledger import Bill, Draft, Generation, Moment, State, earlier


def test_an_attempt_is_of_its_key_alone_however_the_names_are_put_together() -> None:
    attempt = "a:b:x:0"  # of the key "a" and the name "b:x", or of the key "a:b" and the name "x"
    fields: dict[str, Any] = dict.fromkeys(Generation.__struct_fields__) | {
        "key": "a:b",
        "attempt": attempt,
        "state": State.SUCCEEDED,
    }
    row = Generation(**fields | {"flight": "1", "created": 0.0, "finished": 1.0})
    own = Draft("2", "2", "2", Caller("a:b", "team"), "model", 1, 0, Bill(), attempt)

    assert earlier(own, [row], Moment(10.0, 0.0), 60.0) == row
    assert earlier(msgspec.structs.replace(own, caller=Caller("a", "team")), [row], Moment(10.0, 0.0), 60.0) is None


def row(**fields: object) -> Generation:
    """A picture of the key "a", kept for an hour."""
    unset: dict[str, Any] = dict.fromkeys(Generation.__struct_fields__)
    of = {"key": "a", "flight": "f", "state": State.SUCCEEDED, "ttl": 3600, "created": 0.0, "finished": 100.0}
    return Generation(**unset | of | fields)


def is_joined(of: Generation, since: float, looked: float, **fields: Any) -> bool:  # noqa: ANN401 - as a draft has them
    """Whether a request of another key joins it, `since` seconds after its end and `looked` seconds after its look."""
    draft = Draft("2", "f", "f", Caller("b", "team"), "model", 1, 0, Bill(), looked=500.0 - looked, **fields)
    return earlier(draft, [of], Moment(100.0 + since, 500.0), 60.0) == of


@pytest.mark.parametrize(
    ("since", "looked", "fields", "joins"),
    [
        pytest.param(1.9, 0.0, {}, True, id="it-may-have-been-on-its-way-to-the-cache"),
        pytest.param(2.1, 0.0, {}, False, id="it-had-left-the-cache"),
        pytest.param(30.9, 29.0, {}, True, id="it-came-while-the-worker-stood-still-after-its-look"),
        pytest.param(31.1, 29.0, {}, False, id="it-had-left-the-cache-before-the-worker-stood-still"),
        pytest.param(14.9, 0.0, {"saw": False}, True, id="nobody-could-look-and-the-worker-may-have-stood-still"),
        pytest.param(15.1, 0.0, {"saw": False}, False, id="nobody-could-look-but-it-is-old"),
        pytest.param(43.9, 29.0, {"saw": False}, True, id="nobody-could-look-and-then-it-waited"),
        pytest.param(61.9, 0.0, {"lag": 60.0}, True, id="it-may-still-be-taken-into-our-store"),
        pytest.param(62.1, 0.0, {"lag": 60.0}, False, id="it-has-left-the-cache-though-it-was-taken-in"),
        pytest.param(61.9, 0.0, {"lag": 60.0, "saw": False}, True, id="nobody-could-look-for-what-is-taken-in"),
    ],
)
def test_a_picture_that_the_look_into_the_cache_cannot_have_seen_is_joined(
    since: float, looked: float, fields: dict[str, Any], *, joins: bool
) -> None:
    assert is_joined(row(), since, looked, **fields) is joins


@pytest.mark.parametrize("ttl", [0, 5])
def test_a_picture_is_joined_no_longer_than_it_was_to_be_kept(ttl: int) -> None:
    """But for two seconds, in which it may have come, and by whoever waited all the time since its look."""
    shortly = max(2, ttl)

    assert is_joined(row(ttl=ttl), shortly - 0.1, 0.0, saw=False)
    assert not is_joined(row(ttl=ttl), shortly + 0.1, 0.0, saw=False)
    assert is_joined(row(ttl=ttl), 59.9, 0.0, lag=60.0)
    assert not is_joined(row(ttl=ttl), 60.1 + shortly, 0.0, lag=60.0)
    assert is_joined(row(ttl=ttl), 29.9 + shortly, 30.0, saw=False)


def test_a_job_that_did_not_look_joins_what_is_young() -> None:
    draft = Draft("2", "f", "f", Caller("b", "team"), "model", 1, 0, Bill(), saw=False)

    assert earlier(draft, [row()], Moment(114.9, 500.0), 60.0) == row()
    assert earlier(draft, [row()], Moment(115.1, 500.0), 60.0) is None


@pytest.mark.parametrize(
    "fields", [{}, {"is_retry": True}, {"attempt": "a:once:0"}], ids=["flight", "retry", "attempt"]
)
def test_a_picture_that_is_lost_is_not_joined_nor_is_one_before_it(fields: dict[str, Any]) -> None:
    now = Moment(101.0, 500.0)
    draft = Draft("2", "f", "f", Caller("a", "team"), "model", 1, 0, Bill(), newer_than=20.0, **fields)
    before, lost, since = [row(created=created, attempt=draft.attempt) for created in (10.0, 20.0, 30.0)]

    assert earlier(draft, [since, lost, before], now, 60.0) == since
    assert earlier(draft, [lost, before], now, 60.0) is None


def test_though_a_picture_is_lost_what_is_under_way_is_joined_and_what_is_unknown_is_told() -> None:
    draft = Draft("2", "f", "f", Caller("a", "team"), "model", 1, 0, Bill(), newer_than=20.0)
    under_way, unknown = row(finished=None, state=State.SENT), row(state=State.UNKNOWN)

    assert earlier(draft, [under_way], Moment(101.0, 500.0), 60.0) == under_way
    assert earlier(draft, [unknown], Moment(101.0, 500.0), 60.0) == unknown
