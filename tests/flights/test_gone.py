"""A picture that the ledger still knows, and that is no longer in our store: nobody is sent to where it was."""

import asyncio

import pytest

from gateway.core.catalogue import Catalogue
from gateway.core.errors import GatewayError, Kind
from gateway.core.ledger import Ending, State
from gateway.core.order import MEDIA, Answer
from gateway.ports import MediaInfo, MediaUnavailableError
from tests.fakes import MemoryMedia, until
from tests.world import FIRST, SECOND, World

LOST = GatewayError(Kind.UPSTREAM_UNKNOWN, "lost")


class Shelf(MemoryMedia):
    """Our store: it can lose its pictures, be away, and take its time to say what it has."""

    away = False
    gate: asyncio.Event | None = None
    asked = 0

    async def find(self, name: str) -> MediaInfo | None:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            raise MediaUnavailableError
        return await super().find(name)

    def lose(self) -> None:
        """Whatever was kept is gone; what comes has another name."""
        self.pictures = {f"lost {number}": b"" for number in range(len(self.pictures))}

    def has(self, answer: Answer) -> bool:
        return all(picture.url.removeprefix(MEDIA) in self.pictures for picture in answer.pictures)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def world(catalogue: Catalogue, shelf: Shelf) -> World:
    """Nobody can look into its cache, so that all is asked of the ledger."""
    world = World(catalogue, media=shelf)
    world.limiter.cannot_look = True
    return world


def words(*answers: Answer) -> list[str]:
    return [picture.cache.word for answer in answers for picture in answer.pictures]


async def test_what_is_still_there_is_joined(world: World, shelf: Shelf) -> None:
    first = await world.ask()
    world.work_elsewhere()

    second = await world.ask(SECOND)

    assert (words(first, second), shelf.has(second), len(world.upstream.bodies)) == (["miss", "joined"], True, 1)


async def test_what_is_gone_is_a_miss_and_what_is_drawn_instead_is_joined(world: World, shelf: Shelf) -> None:
    await world.ask()
    shelf.lose()
    world.work_elsewhere()

    second = await world.ask(SECOND)
    world.work_elsewhere()
    third = await world.ask()

    assert (words(second, third), len(world.upstream.bodies)) == (["miss", "joined"], 2)
    assert (shelf.has(second), shelf.has(third)) == (True, True)


async def test_of_those_who_find_at_once_that_it_is_gone_one_pays(world: World, shelf: Shelf) -> None:
    lost = (await world.ask()).pictures[0].url
    world.clock.advance(1)
    shelf.lose()
    shelf.gate = asyncio.Event()
    asking = []
    for number in range(5):
        world.work_elsewhere()
        asking.append(asyncio.get_running_loop().create_task(world.ask(SECOND if number % 2 else FIRST)))
        await until(lambda: shelf.asked == len(asking))

    shelf.gate.set()
    answers = await asyncio.gather(*asking)

    assert (sorted(words(*answers)), len(world.upstream.bodies)) == (["joined"] * 4 + ["miss"], 2)
    assert lost not in {picture.url for answer in answers for picture in answer.pictures}


async def test_a_retry_whose_pictures_are_all_gone_pays_once(world: World, shelf: Shelf) -> None:
    for _ in range(3):
        await world.ask(look_up=False)
        world.clock.advance(10)
    shelf.lose()
    world.work_elsewhere()

    retried = await world.ask(look_up=False, is_retry=True)
    world.work_elsewhere()
    again = await world.ask(look_up=False, is_retry=True)

    assert (words(retried, again), len(world.upstream.bodies)) == (["bypass", "joined"], 4)
    assert (shelf.has(retried), shelf.has(again), shelf.asked) == (True, True, 2)


async def test_what_is_in_flight_elsewhere_is_waited_for_though_a_copy_of_it_is_gone(
    world: World, shelf: Shelf
) -> None:
    await world.ask()
    [row] = world.ledger.rows
    world.ledger._replace(row, state=State.SENT, finished=None)
    shelf.lose()
    world.work_elsewhere()

    second = asyncio.get_running_loop().create_task(world.ask(SECOND))
    await until(lambda: world.record.verbs.count("reserve") > 1)
    await world.ledger.end(row, Ending(State.UNKNOWN, None, error=LOST))
    world.settling.wakeups.tell(row.id)

    with pytest.raises(GatewayError) as caught:
        await second
    assert (caught.value.kind, len(world.upstream.bodies)) == (Kind.UPSTREAM_UNKNOWN, 1)


async def test_a_store_that_cannot_say_has_lost_nothing(world: World, shelf: Shelf) -> None:
    await world.ask()
    shelf.away = True
    world.work_elsewhere()

    second = await world.ask(SECOND)

    assert (words(second), len(world.upstream.bodies)) == (["joined"], 1)
    assert "media failed" in world.transcript()
