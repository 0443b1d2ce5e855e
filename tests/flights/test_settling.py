"""A picture from its drawing to its place in our own store: it is found all the while, and nobody pays for it again."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

import pytest

from gateway.core.catalogue import Catalogue
from gateway.core.order import MEDIA, Answer, Options
from gateway.flights import gallery
from gateway.ports import MediaInfo, MediaUnavailableError
from tests.fakes import MemoryMedia, until
from tests.world import SECOND, World

TAKEN_IN_WITHIN = 60.0
DRAWN = "https://pictures.example/1.png"
ANEW = "https://pictures.example/2.png"


class Refusing(MemoryMedia):
    """A store that is full."""

    async def keep(self, _data: bytes, _media_type: str) -> str:
        raise MediaUnavailableError


class Slow(MemoryMedia):
    """A store that says what it has when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.finding = asyncio.Event(), asyncio.Event()
        self.finding.set()

    async def find(self, name: str) -> MediaInfo | None:
        self.asked.set()
        await self.finding.wait()
        return await super().find(name)


@pytest.fixture
def world(catalogue: Catalogue) -> World:
    return World(catalogue, media=MemoryMedia())


def told(answer: Answer) -> list[tuple[str, str]]:
    return [(picture.cache.word, picture.url) for picture in answer.pictures]


def ours(number: int) -> str:
    return f"{MEDIA}{number:032x}.png"


async def taking_in(world: World, *, look_up: bool = True, keep: bool = True) -> asyncio.Task[Answer]:
    """A request whose picture is drawn, and in the ledger; it is taken in when the downloader's gate is opened."""
    world.downloader.gate, drawn = asyncio.Event(), len(world.ledger.rows)
    asking = asyncio.get_running_loop().create_task(world.ask(look_up=look_up, keep=keep))
    await until(lambda: len(world.ledger.rows) > drawn and world.ledger.rows[-1].finished is not None)
    return asking


async def taken_in(world: World, asking: asyncio.Task[Answer]) -> Answer:
    assert world.downloader.gate
    world.downloader.gate.set()
    return await asking


async def test_what_is_taken_in_is_kept_already_whatever_becomes_of_its_worker(world: World) -> None:
    """A slow store or a large picture takes its time, and a worker that is killed in it never comes to an end."""
    asking = await taking_in(world)

    world.clock.advance(10 * TAKEN_IN_WITHIN)
    world.work_elsewhere()
    assert told(await world.ask(SECOND)) == [("hit", DRAWN)]

    answer = await taken_in(world, asking)
    assert (told(answer), answer.pictures[0].stored) == ([("miss", ours(0))], True)
    assert told(await world.ask(SECOND)) == [("hit", ours(0))]
    assert len(world.upstream.bodies) == 1


async def test_who_asks_the_same_worker_meanwhile_waits_for_the_copy(world: World) -> None:
    asking = await taking_in(world)
    loop = asyncio.get_running_loop()
    others = [loop.create_task(world.ask(SECOND, fields=fields)) for fields in ({}, {"n": 2})]
    await until(lambda: len(world.upstream.bodies) == 2)

    answer = await taken_in(world, asking)
    one, two = await asyncio.gather(*others)

    assert told(answer) == [("miss", ours(0))]
    assert told(one) == [("joined", ours(0))]
    assert told(two) == [("joined", ours(0)), ("miss", ours(1))]
    # What was found in the cache did not count as an image, so there is none to give back.
    assert [verb for verb in world.record.verbs if verb.startswith("give back")] == []
    assert told(await world.ask()) == [("hit", ours(0))]


async def test_without_a_store_nobody_waits_for_what_is_kept(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, written = World(catalogue), asyncio.Event()
    end = world.ledger.end

    async def slowly(*ended: object) -> bool:
        await written.wait()
        return await end(*ended)  # type: ignore[arg-type]

    monkeypatch.setattr(world.ledger, "end", slowly)
    asking = asyncio.get_running_loop().create_task(world.ask())
    await until(lambda: "keep" in world.record.verbs)

    assert told(await world.ask(SECOND)) == [("hit", DRAWN)]
    written.set()
    assert told(await asking) == [("miss", DRAWN)]


async def test_302s_own_address_stands_for_an_hour_and_the_copy_for_as_long_as_it_is_wanted(
    catalogue: Catalogue,
) -> None:
    world = World(catalogue, Options(picture_ttl=604_800), MemoryMedia())
    settling = replace(world.settling, gallery=replace(world.settling.gallery, url_ttl=3600))
    world.gateway = replace(world.gateway, settling=settling)

    asking = await taking_in(world)
    [before] = world.cache.entries.values()
    await taken_in(world, asking)
    [after] = world.cache.entries.values()

    assert (before.url, before.expires - world.clock.now()) == (DRAWN, 3600)
    assert (after.url, after.expires - world.clock.now()) == (ours(0), 604_800)


async def test_a_fresh_picture_takes_the_place_of_the_older_one_when_its_copy_is_there(world: World) -> None:
    """If its worker is killed before, the older one still stands for as long as it was to."""
    await world.ask()
    asking = await taking_in(world, look_up=False)

    assert told(await world.ask(SECOND)) == [("hit", ours(0))]

    assert told(await taken_in(world, asking)) == [("bypass", ours(1))]
    assert told(await world.ask(SECOND)) == [("hit", ours(1))]


async def test_302s_address_takes_the_place_of_one_whose_picture_our_store_has_lost(world: World) -> None:
    media = world.media
    assert isinstance(media, MemoryMedia)
    await world.ask()
    media.pictures.clear()
    world.clock.advance(10 * TAKEN_IN_WITHIN)
    world.work_elsewhere()
    asking = await taking_in(world)

    world.clock.advance(10 * TAKEN_IN_WITHIN)
    world.work_elsewhere()
    assert told(await world.ask(SECOND)) == [("hit", ANEW)]

    assert told(await taken_in(world, asking)) == [("miss", ours(0))]


async def test_what_must_not_be_stored_is_kept_by_neither_address(world: World) -> None:
    asking = await taking_in(world, look_up=False, keep=False)
    assert world.cache.entries == {}

    answer = await taken_in(world, asking)

    assert (world.cache.entries, answer.pictures[0].stored) == ({}, False)


async def test_while_the_cache_has_lost_what_is_taken_in_the_ledger_answers_for_it(world: World) -> None:
    """It was away when the picture was drawn, and is back before the picture lies in our store."""
    world.cache.away = True
    asking = await taking_in(world)
    world.cache.away = False

    world.clock.advance(TAKEN_IN_WITHIN - 1)
    world.work_elsewhere()
    assert told(await world.ask(SECOND)) == [("joined", DRAWN)]

    answer = await taken_in(world, asking)
    assert (told(answer), answer.pictures[0].stored) == ([("miss", ours(0))], True)
    assert told(await world.ask(SECOND)) == [("hit", ours(0))]
    assert len(world.upstream.bodies) == 1


async def test_who_is_held_up_until_what_it_wanted_to_join_has_landed_finds_it_in_the_ledger(
    catalogue: Catalogue,
) -> None:
    media = Slow()
    world = World(catalogue, media=media)
    await world.ask(fields={"n": 2})
    del world.cache.kept[world.ledger.rows[0].fingerprint]
    world.clock.advance(10 * TAKEN_IN_WITHIN)
    world.gateway.flights._live.clear()
    asking = await taking_in(world)
    world.clock.advance(TAKEN_IN_WITHIN - 1)
    media.finding.clear()
    other = asyncio.get_running_loop().create_task(world.ask(SECOND, fields={"n": 2}))
    await media.asked.wait()  # for its second picture; the first one it wants to join

    await taken_in(world, asking)
    world.gateway.flights._live.clear()
    media.finding.set()

    assert told(await other) == [("joined", ours(2)), ("hit", ours(1))]
    assert len(world.upstream.bodies) == 3


async def test_where_the_copy_cannot_be_kept_302s_own_address_stays(world: World) -> None:
    """The answer leads to the copy all the same, and says that what it has is not stored."""
    asking = await taking_in(world)
    world.cache.away = True

    answer = await taken_in(world, asking)
    world.cache.away = False
    world.work_elsewhere()

    assert (told(answer), answer.pictures[0].stored) == ([("miss", ours(0))], False)
    assert told(await world.ask(SECOND)) == [("hit", DRAWN)]


async def test_what_could_be_neither_kept_nor_taken_in_is_kept_as_soon_as_it_can_be(catalogue: Catalogue) -> None:
    world = World(catalogue, media=Refusing())
    world.cache.away = True
    asking = await taking_in(world)
    world.cache.away = False

    answer = await taken_in(world, asking)

    assert (told(answer), answer.pictures[0].stored) == ([("miss", DRAWN)], True)
    assert told(await world.ask(SECOND)) == [("hit", DRAWN)]


async def test_the_copys_address_is_sent_when_the_cache_has_answered_for_302s(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent at the same time they could arrive in another order, on two connections."""
    sent: dict[str, asyncio.Future[bool]] = {}

    def keep(_fingerprint: str, url: str, _ttl: int, *, replace: bool = True) -> Awaitable[bool]:
        assert replace
        sent[url] = asyncio.get_running_loop().create_future()
        return sent[url]

    monkeypatch.setattr(world.cache, "keep", keep)
    media = world.media
    assert isinstance(media, MemoryMedia)
    asking = asyncio.get_running_loop().create_task(world.ask())
    await until(lambda: media.pictures != {})
    for _ in range(10):
        await asyncio.sleep(0)
    assert list(sent) == [DRAWN]

    sent[DRAWN].set_result(True)
    await until(lambda: len(sent) == 2)
    sent[ours(0)].set_result(True)

    assert told(await asking) == [("miss", ours(0))]


async def test_what_cannot_be_taken_in_in_time_is_kept_by_its_own_address(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stuck(MemoryMedia):
        async def keep(self, _data: bytes, _media_type: str) -> str:
            never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            return await never

    monkeypatch.setattr(gallery, "_TAKE_IN_WITHIN", 0.01)
    world = World(catalogue, media=Stuck())

    first, second = await world.ask(), await world.ask()

    assert (told(first), told(second)) == ([("miss", DRAWN)], [("hit", DRAWN)])
    assert "media failed" in world.transcript()
