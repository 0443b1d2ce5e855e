"""A process that is told to end waits for what is paid, and for nothing when it is told twice."""

from gateway.flights import Drain
from tests.fakes import FakeClock


def test_one_stop_that_comes_as_two_signals_is_one() -> None:
    clock = FakeClock()
    drain = Drain(["a flight"], clock, 0.0, 290.0)
    drain.begin()
    clock.advance(0.5)

    drain.hurry()

    assert not drain.is_over()
    assert drain.left == 289.5


def test_a_second_signal_hurries_it() -> None:
    clock = FakeClock()
    drain = Drain(["a flight"], clock, 0.0, 290.0)
    drain.begin()
    clock.advance(5)

    drain.hurry()

    assert drain.is_over()
    assert drain.left == 0
