"""Whose earlier generation a request is answered with."""

from typing import Any

import msgspec
import pytest

from gateway.core.keys import Caller
from gateway.core.ledger import Bill, Draft, Generation, State, earlier


def test_an_attempt_is_of_its_key_alone_however_the_names_are_put_together() -> None:
    attempt = "a:b:x:0"  # of the key "a" and the name "b:x", or of the key "a:b" and the name "x"
    fields: dict[str, Any] = dict.fromkeys(Generation.__struct_fields__) | {
        "key": "a:b",
        "attempt": attempt,
        "state": State.SUCCEEDED,
    }
    row = Generation(**fields | {"flight": "1", "created": 0.0, "finished": 1.0})
    own = Draft("2", "2", "2", Caller("a:b", "team"), "model", 1, 0, Bill(), attempt)

    assert earlier(own, [row], 10.0, 60.0) == row
    assert earlier(msgspec.structs.replace(own, caller=Caller("a", "team")), [row], 10.0, 60.0) is None


@pytest.mark.parametrize(
    ("since", "has_looked", "is_joined"),
    [
        pytest.param(1.9, True, True, id="it-came-between-look-up-and-ledger"),
        pytest.param(2.1, True, False, id="it-was-not-in-the-cache"),
        pytest.param(14.9, False, True, id="nobody-could-look-and-its-worker-may-have-stood-still"),
        pytest.param(15.1, False, False, id="nobody-could-look-but-it-is-old"),
    ],
)
def test_a_picture_that_came_just_now_is_joined_and_for_longer_where_the_cache_was_away(
    since: float, has_looked: bool, is_joined: bool
) -> None:
    fields: dict[str, Any] = dict.fromkeys(Generation.__struct_fields__) | {"key": "a", "state": State.SUCCEEDED}
    row = Generation(**fields | {"flight": "f", "created": 0.0, "finished": 100.0})
    draft = Draft("2", "f", "f", Caller("b", "team"), "model", 1, 0, Bill(), has_looked=has_looked)

    assert (earlier(draft, [row], 100.0 + since, 60.0) == row) is is_joined
