"""A picture between its end in the ledger and its place in the cache: nobody pays for it again."""

import asyncio

import pytest

from gateway.core.catalogue import Catalogue
from gateway.core.order import MEDIA
from gateway.flights import gallery
from tests.fakes import MemoryMedia, until
from tests.world import SECOND, World

TAKEN_IN_WITHIN = 60.0


@pytest.fixture
def world(catalogue: Catalogue) -> World:
    return World(catalogue, media=MemoryMedia())


async def test_who_asks_another_worker_while_a_picture_is_taken_in_joins_it(world: World) -> None:
    """A slow store or a large picture takes its time, in which the cache has nothing."""
    world.downloader.gate = asyncio.Event()
    first = asyncio.get_running_loop().create_task(world.ask())
    await until(lambda: world.ledger.rows != [] and world.ledger.rows[0].finished is not None)

    world.clock.advance(TAKEN_IN_WITHIN - 1)
    world.work_elsewhere()
    second = await world.ask(SECOND)

    assert [picture.cache.word for picture in second.pictures] == ["joined"]
    assert len(world.upstream.bodies) == 1
    world.downloader.gate.set()
    assert (await first).pictures[0].url.startswith(MEDIA)
    third = await world.ask(SECOND)
    assert [picture.cache.word for picture in third.pictures] == ["hit"]


async def test_what_cannot_be_taken_in_in_time_is_kept_by_its_own_address(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For as long as it may take, the ledger answers for it; whoever finds nothing in the cache after that pays."""

    class Stuck(MemoryMedia):
        async def keep(self, _data: bytes, _media_type: str) -> str:
            never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            return await never

    monkeypatch.setattr(gallery, "_TAKE_IN_WITHIN", 0.01)
    world = World(catalogue, media=Stuck())

    first, second = await world.ask(), await world.ask()

    assert [picture.cache.word for picture in (*first.pictures, *second.pictures)] == ["miss", "hit"]
    assert second.pictures[0].url == "https://pictures.example/1.png"
    assert "media failed" in world.transcript()
