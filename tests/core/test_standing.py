"""Durations as OpenAI's headers have them, which are Go's."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.standing import go_duration

GO = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:([\d.]+)s)?(?:(\d+)ms)?")


def parse_go(text: str) -> float:
    """Seconds of a Go duration, as clients read it."""
    found = GO.fullmatch(text)
    assert found
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-1, "0s"),
        (0.006, "6ms"),
        (0.0001, "1ms"),
        (0.999, "999ms"),
        (1, "1s"),
        (20.5, "20.5s"),
        (20.05, "20.05s"),
        (59.9999, "1m0s"),
        (60, "1m0s"),
        (61.25, "1m1.25s"),
        (600, "10m0s"),
        (3600, "1h0m0s"),
        (3661.007, "1h1m1.007s"),
    ],
)
def test_a_duration_is_written_as_go_does(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


@given(st.integers(0, 10**9))
def test_every_duration_can_be_read_again(milliseconds: int) -> None:
    assert round(parse_go(go_duration(milliseconds / 1000)) * 1000) == milliseconds
