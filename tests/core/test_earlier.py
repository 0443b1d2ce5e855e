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


@pytest.mark.parametrize(
    ("since", "looked", "is_joined"),
    [
        pytest.param(1.9, 0.0, True, id="it-may-have-been-on-its-way-to-the-cache"),
        pytest.param(2.1, 0.0, False, id="it-had-left-the-cache"),
        pytest.param(30.9, 29.0, True, id="it-came-while-the-worker-stood-still-after-its-look"),
        pytest.param(31.1, 29.0, False, id="it-had-left-the-cache-before-the-worker-stood-still"),
        pytest.param(14.9, None, True, id="nobody-could-look-and-the-worker-may-have-stood-still"),
        pytest.param(15.1, None, False, id="nobody-could-look-but-it-is-old"),
    ],
)
def test_a_picture_that_the_look_into_the_cache_cannot_have_seen_is_joined(
    since: float, looked: float | None, is_joined: bool
) -> None:
    """`since` is how long it is there, `looked` how long ago the cache was asked, both in seconds."""
    fields: dict[str, Any] = dict.fromkeys(Generation.__struct_fields__) | {"key": "a", "state": State.SUCCEEDED}
    row = Generation(**fields | {"flight": "f", "created": 0.0, "finished": 100.0})
    draft = Draft(
        "2", "f", "f", Caller("b", "team"), "model", 1, 0, Bill(), looked=None if looked is None else 500.0 - looked
    )

    assert (earlier(draft, [row], Moment(100.0 + since, 500.0), 60.0) == row) is is_joined
