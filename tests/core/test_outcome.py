"""The record of a request, as metrics and log read it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.outcome import BYPASS, HIT, JOINED, MISS, CacheState, Outcome, told_ms


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

    assert sorted(CacheState) == luckiest_first == [HIT, JOINED, MISS, BYPASS]
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


@pytest.mark.parametrize(("seconds", "ms"), [(0.0, 0.0), (0.000_004, 0.0), (0.012_345_6, 12.35), (280.0, 280_000.0)])
def test_milliseconds_are_told_to_two_places(seconds: float, ms: float) -> None:
    assert told_ms(seconds) == ms


@given(st.floats(0, 3600))
def test_told_milliseconds_are_rounded(seconds: float) -> None:
    assert told_ms(seconds) == pytest.approx(seconds * 1000, abs=0.005_001, rel=0)
    assert told_ms(seconds) == round(told_ms(seconds), 2)
