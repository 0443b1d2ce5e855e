"""A paid call in the ledger, when it is cut short."""

import asyncio

import pytest

from gateway.core.catalogue import Catalogue
from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import Caller
from gateway.core.ledger import Bill, Draft, Ending, State
from gateway.flights import Audience, PaidCall, follow
from tests.fakes import until
from tests.world import World


@pytest.fixture
def world(catalogue: Catalogue) -> World:
    return World(catalogue)


def paid(world: World, audience: Audience) -> PaidCall:
    draft = Draft("1", "f1", "f1", Caller("first", "first"), "dall-e-3-t2i", 40_000, 60, Bill())
    return PaidCall(world.ledger, world.settling.errands, draft, audience)


async def test_what_is_given_up_while_it_is_being_reserved_is_let_go(world: World) -> None:
    """The upstream's deadline may end the wait for a slow database; what was begun there is still committed."""
    world.ledger.gate = asyncio.Event()
    call = paid(world, Audience())
    sending = asyncio.get_running_loop().create_task(call.sending("k_1"))
    await until(lambda: "reserve" in world.record.verbs)

    sending.cancel()

    await until(lambda: "cancel" in world.record.verbs)


async def test_nothing_is_reserved_for_those_who_are_gone(world: World) -> None:
    audience = Audience()
    audience.add(lambda: True)
    audience.add(lambda: True)

    with pytest.raises(GatewayError) as caught:
        await paid(world, audience).sending("k_1")

    assert caught.value.kind is Kind.CLIENT_CLOSED_REQUEST
    assert "reserve" not in world.record.verbs


async def test_one_who_is_still_there_is_enough(world: World) -> None:
    audience = Audience()
    audience.add(lambda: True)
    audience.add(lambda: False)
    call = paid(world, audience)

    await call.sending("k_1")

    assert call.row is not None


async def test_who_is_gone_by_the_time_it_is_reserved_is_not_sent_for_and_who_follows_pays_itself(world: World) -> None:
    """Between the look and the commit a worker may stand still, and another one answer the retry."""
    gone = False
    audience = Audience()
    audience.add(lambda: gone)
    world.ledger.gate = asyncio.Event()
    call = paid(world, audience)
    sending = asyncio.get_running_loop().create_task(call.sending("k_1"))
    await until(lambda: "reserve" in world.record.verbs)
    gone = True
    world.ledger.gate.set()

    with pytest.raises(GatewayError) as caught:
        await sending
    await world.settling.failed(call, caught.value)

    assert caught.value.kind is Kind.CLIENT_CLOSED_REQUEST
    assert call.row is not None
    [row] = await world.ledger.find([call.row.id])
    assert (row.state, row.actual) == (State.FAILED, 0)
    assert await follow(world.ledger, world.settling.wakeups, row) is None


async def test_who_follows_what_was_let_go_of_for_the_database_was_away_pays_itself(world: World) -> None:
    row = await world.ledger.reserve(paid(world, Audience())._draft, "k_1")
    away = GatewayError(Kind.STORE_UNAVAILABLE, "nothing was sent")
    await world.ledger.end(row, Ending(State.FAILED, 0, error=away))

    [row] = await world.ledger.find([row.id])
    assert await follow(world.ledger, world.settling.wakeups, row) is None
