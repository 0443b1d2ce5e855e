"""The record of a request, as metrics and log read it."""

import msgspec
import pytest

from gateway.core.outcome import CacheState, Outcome


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (CacheState.HIT, "hit"),
        (CacheState.JOINED, "joined"),
        (CacheState.MISS, "miss"),
        (CacheState.BYPASS, "bypass"),
    ],
)
def test_a_state_has_the_word_of_the_header(state: CacheState, word: str) -> None:
    assert state.word == word


def test_several_pictures_are_as_lucky_as_the_least_lucky_one() -> None:
    luckiest_first = [CacheState.HIT, CacheState.JOINED, CacheState.MISS, CacheState.BYPASS]

    assert sorted(CacheState) == luckiest_first
    assert max(CacheState.JOINED, CacheState.HIT, CacheState.MISS) is CacheState.MISS


def test_what_was_not_reached_is_left_out_of_the_line() -> None:
    assert msgspec.json.encode(Outcome("req_1", "POST")) == b'{"request_id":"req_1","method":"POST"}'


def test_what_was_reached_is_told() -> None:
    outcome = Outcome("req_1", "POST", status=200, code="ok")
    outcome.states = (CacheState.HIT.word, CacheState.MISS.word)

    assert msgspec.json.decode(msgspec.json.encode(outcome)) == {
        "request_id": "req_1",
        "method": "POST",
        "status": 200,
        "code": "ok",
        "states": ["hit", "miss"],
    }
