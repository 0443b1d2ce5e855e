"""What a dead worker left is ended, and unknown outcomes are settled by their bills."""

import asyncio

import pytest

from gateway.core.catalogue import Catalogue, Model
from gateway.core.errors import GatewayError, Kind
from gateway.core.ledger import Draft, Generation, State
from gateway.flights import Recovery
from tests.fakes import until
from tests.world import World


@pytest.fixture
def world(catalogue: Catalogue) -> World:
    return World(catalogue)


def recovery(world: World) -> Recovery:
    def model(name: str) -> Model:
        return world.catalogue.models["dall-e-3-t2i"]

    flights = world.gateway.flights
    return Recovery(world.ledger, world.settling, flights, world.upstream, model, world.observer, world.clock)


async def left(world: World, task_id: str = "") -> Generation:
    """A row in flight, of a worker that is dead."""
    caller = world.gateway.keyring.find(b"the first key")
    assert caller is not None
    row = await world.ledger.reserve(Draft("1", "f1", "f1", caller, "dall-e-3-t2i", 40_000, 60), "k_1")
    if task_id:
        await world.ledger.accept(row, "302-1", task_id)
    world.ledger._replace(row, owner="another")
    world.transcript()
    return row


async def test_what_was_sent_without_a_task_is_unknown_and_never_sent_again(world: World) -> None:
    await left(world)

    await recovery(world).adopt_orphans()

    [row] = world.ledger.rows
    assert (row.state, row.error.kind, world.upstream.bodies) == (State.UNKNOWN, Kind.UPSTREAM_UNKNOWN, [])
    assert (world.ledger.held, world.ledger.spent) == (40_000, 0)


async def test_a_task_is_waited_for_and_its_picture_kept(world: World) -> None:
    await left(world, "task-1")

    await recovery(world).adopt_orphans()
    await until(lambda: world.ledger.rows[0].finished is not None)
    await world.gateway.flights.drain()

    [row] = world.ledger.rows
    assert (row.state, row.url) == (State.SUCCEEDED, "https://pictures.example/task-1.png")
    assert (world.ledger.held, world.ledger.spent, world.upstream.bodies) == (0, 40_000, [])
    assert world.cache.entries["f1"].url == row.url


async def test_a_task_that_failed_costs_nothing(world: World) -> None:
    await left(world, "task-1")
    world.upstream.failure = GatewayError(Kind.CONTENT_POLICY, "no")

    await recovery(world).adopt_orphans()
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


async def test_after_an_outage_of_the_database_the_living_have_time_to_say_so(world: World) -> None:
    recovering = recovery(world)
    await recovering.beat()
    world.clock.advance(20)
    await left(world)

    await recovering.beat()
    at_once = world.ledger.rows[0].finished
    for _ in range(4):
        world.clock.advance(5)
        await recovering.beat()

    assert at_once is None
    assert world.ledger.rows[0].state is State.UNKNOWN


async def test_a_worker_that_starts_adopts_at_once(world: World) -> None:
    await left(world)

    await recovery(world).beat()

    assert world.ledger.rows[0].state is State.UNKNOWN


async def test_a_bill_that_does_not_come_keeps_no_heart_from_beating(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.flights.recovery._BEAT_EVERY", 0.001)
    row = await left(world)
    world.ledger._replace(row, state=State.UNKNOWN, request_id="302-9", finished=1.0, owner="me")

    async def hangs(_request_id: str, _key: str) -> int:
        await asyncio.Event().wait()
        return 0

    monkeypatch.setattr(world.upstream, "bill", hangs)
    running = asyncio.get_running_loop().create_task(recovery(world).run())
    try:
        await until(lambda: world.record.verbs.count("beat") > 3)
    finally:
        running.cancel()
