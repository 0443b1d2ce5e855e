"""Identical calls in flight share one, and no caller's leaving ends it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.core.errors import GatewayError, Kind
from gateway.flights import Audience, Flights
from gateway.flights.audience import MOST
from gateway.flights.flights import LINGER, SWEEP_EVERY, Landed
from tests.fakes import FakeObserver

PATIENT = 60.0


class Call:
    """A call that lands when it is told to, counted."""

    def __init__(self, result: str | Exception = "picture") -> None:
        self.begun = 0
        self.land = asyncio.Event()
        self.result = result

    async def __call__(self, _audience: Audience | None = None) -> str:
        self.begun += 1
        await self.land.wait()
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def observer() -> FakeObserver:
    return FakeObserver()


@pytest.fixture
def flights(observer: FakeObserver) -> Flights[str]:
    return Flights(observer)


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def waiting(
    flights: Flights[str], key: str, call: Callable[[Audience], Awaitable[str]], *, fresh: bool = False
) -> asyncio.Task[Landed[str]]:
    return asyncio.get_running_loop().create_task(flights.join(key, call, PATIENT, fresh=fresh))


async def test_ten_of_the_same_share_one_and_one_of_them_began_it(
    flights: Flights[str], observer: FakeObserver
) -> None:
    call = Call()
    waiters = [waiting(flights, "a", call) for _ in range(10)]
    await settled()
    in_flight = observer.in_flight
    call.land.set()

    landed = await asyncio.gather(*waiters)

    assert (call.begun, in_flight, observer.in_flight) == (1, 1, 0)
    assert [one.value for one in landed] == ["picture"] * 10
    assert sorted(one.joined for one in landed) == [False] + [True] * 9


async def test_others_have_their_own(flights: Flights[str]) -> None:
    call = Call()
    waiters = [waiting(flights, key, call) for key in ("a", "b", "c")]
    await settled()
    assert (call.begun, len(flights.under_way())) == (3, 3)
    call.land.set()

    assert [(await waiter).joined for waiter in waiters] == [False] * 3


async def test_one_is_under_way_until_it_has_landed(flights: Flights[str]) -> None:
    call = Call()
    waiter = waiting(flights, "a", call)
    await settled()
    seen = [flights.is_under_way(key) for key in ("a", "b")]
    call.land.set()
    await waiter

    assert (seen, flights.is_under_way("a")) == ([True, False], False)


async def test_a_fresh_one_joins_nobody_and_can_be_joined(flights: Flights[str]) -> None:
    call = Call()
    waiters = [waiting(flights, "a", call, fresh=fresh) for fresh in (False, True, True, False)]
    await settled()
    assert call.begun == 3
    call.land.set()

    assert [(await waiter).joined for waiter in waiters] == [False, False, False, True]


@pytest.mark.parametrize("leavers", [1, 3], ids=["the-first", "all"])
async def test_a_call_goes_on_when_its_callers_leave(flights: Flights[str], leavers: int) -> None:
    call = Call()
    waiters = [waiting(flights, "a", call) for _ in range(3)]
    await settled()
    for waiter in waiters[:leavers]:
        waiter.cancel()
    await settled()

    late = waiting(flights, "a", call)
    await settled()
    call.land.set()

    assert await late == Landed("picture", joined=True)
    assert call.begun == 1
    ended = await asyncio.gather(*waiters, return_exceptions=True)
    assert [isinstance(end, asyncio.CancelledError) for end in ended] == [n < leavers for n in range(3)]


async def test_who_cannot_wait_is_told_and_the_call_goes_on(flights: Flights[str]) -> None:
    call = Call()

    with pytest.raises(TimeoutError):
        await flights.join("a", call, 0)
    late = waiting(flights, "a", call)
    await settled()
    call.land.set()

    assert await late == Landed("picture", joined=True)
    assert call.begun == 1


async def test_a_failure_is_told_to_all_each_in_its_own_words(flights: Flights[str]) -> None:
    call = Call(GatewayError(Kind.UPSTREAM_BALANCE, "empty"))
    waiters = [waiting(flights, "a", call) for _ in range(3)]
    await settled()
    call.land.set()

    errors = await asyncio.gather(*waiters, return_exceptions=True)

    assert len({id(error) for error in errors}) == 3
    assert {(error.kind, error.message) for error in errors if isinstance(error, GatewayError)} == {
        (Kind.UPSTREAM_BALANCE, "empty")
    }
    assert call.begun == 1


async def test_a_fault_of_ours_is_logged_and_told_as_one(flights: Flights[str], observer: FakeObserver) -> None:
    fault = ZeroDivisionError("the prompt")
    call = Call(fault)
    call.land.set()

    with pytest.raises(GatewayError) as caught:
        await flights.join("a", call, PATIENT)

    assert caught.value.kind is Kind.INTERNAL_ERROR
    assert "the prompt" not in caught.value.message
    assert observer.faults == [fault]


@pytest.mark.parametrize(
    ("result", "begun"),
    [
        pytest.param("picture", 1, id="a-picture-can-still-be-joined"),
        pytest.param(GatewayError(Kind.UPSTREAM_UNKNOWN, "?"), 1, id="an-unknown-outcome-can-still-be-joined"),
        pytest.param(GatewayError(Kind.UPSTREAM_TIMEOUT, "?"), 1, id="a-timeout-can-still-be-joined"),
        pytest.param(GatewayError(Kind.UPSTREAM_UNREACHABLE, "?"), 2, id="what-was-not-billed-is-tried-again"),
        pytest.param(GatewayError(Kind.CONTENT_POLICY, "?"), 2, id="a-refusal-is-tried-again"),
        pytest.param(ValueError(), 2, id="a-fault-is-tried-again"),
    ],
)
async def test_what_landed_just_now(flights: Flights[str], result: str | Exception, begun: int) -> None:
    call = Call(result)
    call.land.set()

    await asyncio.gather(waiting(flights, "a", call), return_exceptions=True)
    await asyncio.gather(waiting(flights, "a", call), return_exceptions=True)

    assert call.begun == begun


async def test_what_landed_a_while_ago_is_begun_anew(flights: Flights[str]) -> None:
    call = Call()
    call.land.set()
    await flights.join("a", call, PATIENT)

    await asyncio.sleep(LINGER + 10 * SWEEP_EVERY)

    assert await flights.join("a", call, PATIENT) == Landed("picture", joined=False)
    assert call.begun == 2


async def test_draining_waits_for_every_call_also_for_those_begun_meanwhile(flights: Flights[str]) -> None:
    first, second = Call(), Call()
    waiter = waiting(flights, "a", first)
    await settled()
    waiter.cancel()
    draining = asyncio.get_running_loop().create_task(flights.drain())
    await settled()
    other = waiting(flights, "b", second)
    await settled()
    first.land.set()
    await settled()
    assert not draining.done()
    second.land.set()

    await draining

    assert not flights.under_way()
    assert (await other).value == "picture"


async def test_with_nothing_in_flight_there_is_nothing_to_drain(flights: Flights[str]) -> None:
    await flights.drain()


async def test_a_budget_that_is_used_up_is_told_to_who_began_the_flight_and_the_others_fly_themselves(
    flights: Flights[str],
) -> None:
    poor, rich = Call(GatewayError(Kind.INSUFFICIENT_QUOTA, "Your budget is used up.")), Call()
    first = waiting(flights, "a", poor)
    await settled()
    others = [asyncio.get_running_loop().create_task(flights.join("a", rich, 60, own="b")) for _ in range(2)]
    await settled()
    poor.land.set()
    rich.land.set()

    with pytest.raises(GatewayError):
        await first
    assert {landed.value for landed in await asyncio.gather(*others)} == {"picture"}
    assert (poor.begun, rich.begun) == (1, 1)


async def test_who_joined_one_that_was_let_go_for_others_were_gone_begins_its_own(flights: Flights[str]) -> None:
    deserted = Call(GatewayError(Kind.CLIENT_CLOSED_REQUEST, "Nobody is there."))
    first = asyncio.get_running_loop().create_task(flights.join("a", deserted, PATIENT, gone=lambda: True))
    await settled()
    later = Call()
    second = waiting(flights, "a", later)
    await settled()
    deserted.land.set()
    later.land.set()

    with pytest.raises(GatewayError):
        await first
    assert await second == Landed("picture", joined=False)


async def test_as_many_may_wait_for_one_flight_as_its_audience_holds(flights: Flights[str]) -> None:
    call = Call()
    waiters = [waiting(flights, "a", call) for _ in range(MOST)]
    await settled()

    with pytest.raises(GatewayError) as caught:
        await flights.join("a", call, PATIENT)
    other = waiting(flights, "b", call)
    call.land.set()

    assert (caught.value.kind, caught.value.retry_after) == (Kind.RATE_LIMIT_EXCEEDED, 1.0)
    assert len(await asyncio.gather(*waiters, other)) == MOST + 1


def test_who_hung_up_or_left_makes_room_in_an_audience() -> None:
    audience = Audience(most=2)
    gone = [False, False]
    audience.add(lambda: gone[0])
    second = audience.add(lambda: gone[1])

    audience.leave(second)
    audience.add(lambda: gone[1])
    gone[0] = True
    audience.add(lambda: False)

    with pytest.raises(GatewayError):
        audience.add(lambda: False)


def test_a_crowd_is_not_asked_by_each_newcomer_whether_it_is_still_there() -> None:
    asked: list[bool] = []
    audience = Audience(most=1)

    def gone() -> bool:
        asked.append(True)
        return False

    audience.add(gone)
    for _ in range(2):
        with pytest.raises(GatewayError):
            audience.add(gone)

    assert len(asked) == 1


async def test_who_joins_a_flight_in_the_moment_it_is_let_go_begins_another(flights: Flights[str]) -> None:
    joining: list[asyncio.Task[Landed[str]]] = []

    async def call(_audience: Audience) -> str:
        if joining:
            return "picture"
        joining.append(waiting(flights, "a", call))  # it looks before anybody hears that this one is over
        raise GatewayError(Kind.CLIENT_CLOSED_REQUEST, "gone")

    with pytest.raises(GatewayError):
        await flights.join("a", call, PATIENT)

    assert (await joining[0]).value == "picture"


async def test_who_waited_just_as_long_as_the_flight_took_is_told_that_it_landed() -> None:
    audience, loop = Audience(), asyncio.get_running_loop()
    waiter = loop.create_task(audience.wait(loop, lambda: False, 0.0))
    await asyncio.sleep(0)
    loop.call_later(0.0, audience.land)

    assert await waiter


async def test_those_who_hung_up_and_made_room_are_woken_too() -> None:
    audience, loop = Audience(most=1), asyncio.get_running_loop()
    first = loop.create_task(audience.wait(loop, lambda: True, PATIENT))
    await asyncio.sleep(0)
    second = loop.create_task(audience.wait(loop, lambda: False, PATIENT))
    await asyncio.sleep(0)

    audience.land()

    assert [await first, await second] == [True, True]


async def test_who_waits_for_a_flight_that_is_cancelled_before_it_began_is_cancelled_too(
    flights: Flights[str], observer: FakeObserver
) -> None:
    call = Call()
    waiter = waiting(flights, "a", call)
    await asyncio.sleep(0)
    [begun] = flights._tasks
    begun.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert (call.begun, observer.in_flight, len(flights.under_way())) == (0, 0, 0)
