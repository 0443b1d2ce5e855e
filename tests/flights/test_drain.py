"""A process that is told to end waits for what is paid, and for nothing when it is told twice."""

from dataclasses import dataclass

from gateway.flights import Drain
from tests.fakes import FakeClock


@dataclass
class Flight:
    is_over: bool = False

    def done(self) -> bool:
        return self.is_over


class Air(list[Flight]):
    """Flights."""

    def under_way(self) -> list[Flight]:
        return [flight for flight in self if not flight.is_over]


def test_it_is_over_when_all_has_landed_but_for_what_is_refused_meanwhile() -> None:
    air, clock = Air([Flight(), Flight()]), FakeClock()
    drain = Drain(air, clock, 1.0, 290.0)
    assert not drain.is_over()

    drain.begin()
    clock.advance(1)
    air[0].is_over = True
    assert not drain.is_over()
    air[1].is_over = True
    air.append(Flight())

    assert drain.is_over()


def test_who_joins_the_call_of_another_process_meanwhile_is_waited_for() -> None:
    air, clock = Air([Flight()]), FakeClock()
    drain = Drain(air, clock, 1.0, 290.0)
    drain.begin()
    clock.advance(1)
    air.append(Flight())
    assert not drain.is_over()

    air[0].is_over = True
    assert not drain.is_over()
    air[1].is_over = True

    assert drain.is_over()


def test_without_flights_it_lasts_as_long_as_balancers_need_to_learn_of_it() -> None:
    clock = FakeClock()
    drain = Drain(Air(), clock, 1.0, 290.0)
    drain.begin()

    assert not drain.is_over()
    clock.advance(1)
    assert drain.is_over()


def test_one_stop_that_comes_as_two_signals_is_one() -> None:
    clock = FakeClock()
    drain = Drain(Air([Flight()]), clock, 0.0, 290.0)
    drain.begin()
    clock.advance(0.5)

    drain.hurry()

    assert not drain.is_over()
    assert drain.left == 289.5


def test_a_second_signal_hurries_it() -> None:
    clock = FakeClock()
    drain = Drain(Air([Flight()]), clock, 0.0, 290.0)
    drain.begin()
    clock.advance(5)

    drain.hurry()

    assert drain.is_over()
    assert drain.left == 0
