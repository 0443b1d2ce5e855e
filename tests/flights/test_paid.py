"""A paid call in the ledger, when it is cut short."""

import asyncio

import pytest

from gateway.core.catalogue import Catalogue
from gateway.core.keys import Caller
from gateway.core.ledger import Bill, Draft
from gateway.flights import PaidCall
from tests.fakes import until
from tests.world import World


@pytest.fixture
def world(catalogue: Catalogue) -> World:
    return World(catalogue)


async def test_what_is_given_up_while_it_is_being_reserved_is_let_go(world: World) -> None:
    """The upstream's deadline may end the wait for a slow database; what was begun there is still committed."""
    world.ledger.gate = asyncio.Event()
    draft = Draft("1", "f1", "f1", Caller("first", "first"), "dall-e-3-t2i", 40_000, 60, Bill())
    call = PaidCall(world.ledger, world.settling.errands, draft)
    sending = asyncio.get_running_loop().create_task(call.sending("k_1"))
    await until(lambda: "reserve" in world.record.verbs)

    sending.cancel()

    await until(lambda: "cancel" in world.record.verbs)
