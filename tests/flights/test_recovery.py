"""What a dead worker left is ended, and unknown outcomes are settled by their bills."""

import asyncio

import pytest

from gateway.core.catalogue import Catalogue, Model
from gateway.core.errors import GatewayError, Kind
from gateway.core.ledger import Bill, Draft, Generation, State
from gateway.core.order import media_name
from gateway.flights import Recovery
from tests.fakes import MemoryMedia, until
from tests.world import World


@pytest.fixture
def world(catalogue: Catalogue) -> World:
    return World(catalogue)


def recovery(world: World, lease: float = 15.0) -> Recovery:
    def model(name: str) -> Model:
        return world.catalogue.models["dall-e-3-t2i"]

    flights = world.gateway.flights
    return Recovery(
        world.ledger, world.settling, flights, world.upstream, model, world.observer, world.clock, lease=lease
    )


async def left(world: World, task_id: str = "") -> Generation:
    """A row in flight, of a worker that is dead."""
    caller = world.gateway.keyring.find(b"the first key")
    assert caller is not None
    row = await world.ledger.reserve(Draft("1", "f1", "f1", caller, "dall-e-3-t2i", 40_000, 60, Bill()), "k_1")
    if task_id:
        await world.ledger.accept(row, "302-1", task_id)
    world.ledger._replace(row, owner="another")
    world.transcript()
    return row


async def test_what_was_sent_without_a_task_is_unknown_and_never_sent_again(world: World) -> None:
    await left(world)

    await recovery(world).adopt_orphans(lapsed=True)

    [row] = world.ledger.rows
    assert (row.state, row.error.kind, world.upstream.bodies) == (State.UNKNOWN, Kind.UPSTREAM_UNKNOWN, [])
    assert (world.ledger.held, world.ledger.spent) == (40_000, 0)


async def test_a_task_is_waited_for_and_its_picture_kept(world: World) -> None:
    await left(world, "task-1")

    await recovery(world).adopt_orphans(lapsed=True)
    await until(lambda: world.ledger.rows[0].finished is not None)
    await world.gateway.flights.drain()

    [row] = world.ledger.rows
    assert (row.state, row.url) == (State.SUCCEEDED, "https://pictures.example/task-1.png")
    assert (world.ledger.held, world.ledger.spent, world.upstream.bodies) == (0, 40_000, [])
    assert world.cache.entries["f1"].url == row.url


async def test_a_picture_of_a_dead_worker_is_found_while_it_is_taken_in(catalogue: Catalogue) -> None:
    world = World(catalogue, media=MemoryMedia())
    world.downloader.gate = asyncio.Event()
    await left(world, "task-1")

    await recovery(world).adopt_orphans(lapsed=True)
    await until(lambda: world.ledger.rows[0].finished is not None)
    before = world.cache.entries["f1"].url
    world.downloader.gate.set()
    await world.gateway.flights.drain()

    after = world.cache.entries["f1"].url
    assert (before, after) == ("https://pictures.example/task-1.png", world.ledger.rows[0].url)
    assert media_name(after) is not None


async def test_a_task_that_failed_costs_nothing(world: World) -> None:
    await left(world, "task-1")
    world.upstream.failure = GatewayError(Kind.CONTENT_POLICY, "no")

    await recovery(world).adopt_orphans(lapsed=True)
    await until(lambda: world.ledger.rows[0].finished is not None)
    await world.gateway.flights.drain()

    assert (world.ledger.rows[0].state, world.ledger.held, world.ledger.spent) == (State.FAILED, 0, 0)


async def test_bills_are_asked_for_ever_more_rarely_until_they_come(world: World) -> None:
    row = await left(world)
    world.ledger._replace(row, state=State.UNKNOWN, request_id="302-9", finished=1.0, owner="me")
    recovering = recovery(world)

    for _ in range(20):
        await recovering.ask_for_bills()
        world.clock.advance(5)
    asked = world.transcript().count("bill 302-9")
    world.upstream.bills["302-9"] = 41_000
    world.clock.advance(600)
    await recovering.ask_for_bills()

    assert asked == 5  # at 0, 5, 15, 35 and 75 seconds
    assert world.transcript() == ["bill 302-9", "correct 41000"]


async def test_the_heart_beats_while_302_lets_us_wait_for_a_bill(world: World) -> None:
    row = await left(world)
    world.ledger._replace(row, state=State.UNKNOWN, request_id="302-9", finished=1.0, owner="me")
    world.upstream.gate = asyncio.Event()
    recovering = recovery(world, lease=0.03)
    running = asyncio.get_running_loop().create_task(recovering.run())

    await until(lambda: "bill 302-9" in world.record.verbs and world.record.verbs.count("beat") > 3)

    running.cancel()


async def test_who_was_cut_off_gives_the_others_a_lease_to_come_back(world: World) -> None:
    """When the database was away, every worker's lease has lapsed, and all of them live."""
    await left(world)
    recovering = recovery(world)
    states = []

    for unbroken in (False, True, True, False, True, True, True, True):
        world.ledger.unbroken = unbroken
        await recovering.beat()
        await recovering.look_after_others()
        states.append(world.ledger.rows[0].state)
        world.clock.advance(5)

    assert states == [State.SENT] * 6 + [State.UNKNOWN] * 2
