"""Whose earlier generation a request is answered with."""

from typing import Any

import msgspec

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
