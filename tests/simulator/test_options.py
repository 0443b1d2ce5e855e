"""Options that contradict themselves."""

from typing import Any

import pytest

from gateway.simulator import Failure, Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"delay": -1}, "delay and jitter", id="delay"),
        pytest.param({"jitter": -0.1}, "delay and jitter", id="jitter"),
        pytest.param({"failure_rate": 1.5, "failures": (Failure.HANG,)}, "from 0 to 1", id="rate"),
        pytest.param({"failure_rate": 0.5}, "name at least one", id="a rate of nothing"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_words(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Options(**options)
