"""Which hits may be answered again without the application, and that this is told to nobody in another way."""

import asyncio
import gc
import re
import weakref
from dataclasses import replace

import msgspec
import orjson
import pytest
from starlette.types import Receive, Scope, Send

from gateway.core.catalogue import Catalogue
from gateway.core.entry import Entry
from gateway.core.order import Answer, Asked, Order
from gateway.core.outcome import CacheState, Outcome
from gateway.fastpath import KeptOrder
from gateway.pipeline import Gateway
from gateway.web.fastpath import FastPath, RawReply, has_fast_path
from tests.fakes import MemoryMedia, reading, until
from tests.web.application import serving
from tests.web.talking import answer_to, listening, talking
from tests.world import FIRST, MODEL, World

NO_HEADERS: dict[bytes, bytes] = {}


@pytest.fixture
def world(catalogue: Catalogue) -> World:
    return World(catalogue)


async def ordered(world: World, asked: Asked | None = None, **fields: object) -> tuple[Order, Answer]:
    """An order that was answered, and its answer; its outcome is as the front leaves it."""
    body = orjson.dumps({"model": MODEL, "prompt": "a cat", **fields})
    asked = msgspec.structs.replace(asked or Asked(reading(b"")), read=reading(body))
    outcome = Outcome("req_1", "POST", "generations")
    order = await world.gateway.admit(await world.gateway.accept(FIRST, asked, outcome))
    answer = await world.gateway.generate(order)
    outcome.status, outcome.code, outcome.ms = 200, "ok", 7.5
    return order, answer


async def hit(world: World, asked: Asked | None = None, **fields: object) -> tuple[Order, Answer]:
    await ordered(world, asked=None, **fields)
    return await ordered(world, asked, **fields)


async def test_only_a_hit_may_come_again(world: World) -> None:
    miss = await ordered(world)
    one = await ordered(world)
    some = await ordered(world, n=2)
    both = await ordered(world, n=2)

    assert [has_fast_path(world.gateway, *of, NO_HEADERS) for of in (miss, one, some, both)] == [
        False,
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("headers", "may"),
    [
        ({b"host": b"a", b"user-agent": b"b", b"authorization": b"Bearer x"}, True),
        ({b"host": b"a", b"origin": b"https://app.example"}, False),
        ({b"host": b"a", b"prefer": b"wait=1"}, False),
    ],
)
async def test_what_other_headers_are_answered_with_more_is_not_answered_again(
    world: World, headers: dict[bytes, bytes], may: bool
) -> None:
    assert has_fast_path(world.gateway, *await hit(world), headers) is may


async def test_bytes_fresh_pictures_and_named_requests_are_not_answered_again(world: World) -> None:
    plain = Asked(reading(b""))
    bytes_ = await hit(world, response_format="b64_json")
    fresh = await hit(world, msgspec.structs.replace(plain, look_up=False))
    named = await hit(world, msgspec.structs.replace(plain, attempt="once"))
    named_again = await hit(world, msgspec.structs.replace(plain, attempt="once"))

    for order, answer in (bytes_, fresh, named, named_again):
        assert not has_fast_path(world.gateway, order, answer, NO_HEADERS)


class Serving:
    """Which gateway serves; a reload puts another there."""

    def __init__(self, world: World) -> None:
        self.gateway: Gateway = world.gateway

    def again(self, order: Order) -> FastPath:
        return FastPath(lambda: self.gateway, KeptOrder(self.gateway, order, FIRST), order.outcome, [])


def ask(again: FastPath) -> RawReply | None:
    told: list[RawReply | None] = []
    again(told.append)
    [known] = told
    return known


async def test_the_reply_has_all_headers_and_the_observer_is_told_of_a_request_of_its_own(world: World) -> None:
    order, _ = await hit(world, size="1792x1024")
    first = msgspec.structs.replace(order.outcome)
    again = Serving(world).again(order)

    answers = [ask(again) for _ in range(2)]

    ids = []
    for answer, outcome in zip(answers, world.observer.outcomes, strict=True):
        assert answer is not None
        assert orjson.loads(answer.body)["data"] == [{"url": "https://pictures.example/1.png"}]
        lines = [line.split(b": ", 1) for line in answer.headers.removesuffix(b"\r\n").split(b"\r\n")]
        assert [name for name, _ in lines] == [
            *(b"content-type", b"cache-status", b"x-gateway-cache", b"x-gateway-adjusted", b"content-length"),
            *(b"x-request-id", b"openai-processing-ms", b"openai-version", b"x-content-type-options"),
        ]
        headers = dict(lines)
        assert headers[b"content-length"] == b"%d" % len(answer.body)
        assert headers[b"x-request-id"] == outcome.request_id.encode()
        assert outcome == msgspec.structs.replace(first, request_id=outcome.request_id, ms=0.0)
        assert (outcome.cache, outcome.states, outcome.adjusted) == ("hit", ("hit",), ("size",))
        ids.append(outcome.request_id)
    assert len({*ids, "req_1"}) == 3
    assert order.outcome == first


async def test_after_a_reload_the_application_is_asked(world: World) -> None:
    order, _ = await hit(world)
    reloaded = Serving(world)
    again = reloaded.again(order)
    world.transcript()
    reloaded.gateway = replace(world.gateway)

    assert ask(again) is None
    assert (world.transcript(), world.observer.outcomes) == ([], [])


async def test_what_cannot_be_answered_again_is_told_to_nobody(world: World) -> None:
    order, answer = await hit(world)
    world.cache.kept.clear()

    assert ask(Serving(world).again(order)) is None
    assert world.observer.outcomes == []
    assert answer.pictures[0].cache is CacheState.HIT


class Counting:
    """The application, and what it was asked."""

    def __init__(self, world: World) -> None:
        self.asked: list[str] = []
        self._app = serving(world)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["type"])
        await self._app(scope, receive, send)


def posted(fields: dict[str, object]) -> bytes:
    """A request for pictures, as it comes over the wire."""
    body = orjson.dumps(fields)
    request = b"POST /v1/images/generations HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %b\r\n" % FIRST
    return request + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


async def test_a_known_hit_does_not_go_through_the_application_and_all_else_does(world: World) -> None:
    app, request = Counting(world), posted({"model": MODEL, "prompt": "a cat"})
    states = []
    async with listening(app) as server, server.connect() as (reader, writer):
        for _ in range(4):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            states.append(re.findall(rb"x-gateway-cache: ([a-z]+)", head))
            await reader.readexactly(int(re.findall(rb"content-length: ([0-9]+)", head)[0]))

    assert states == [[b"miss"], *[[b"hit"]] * 3]
    assert len(app.asked) == 2
    assert [outcome.cache for outcome in world.observer.outcomes] == ["miss", *["hit"] * 3]


async def test_where_pictures_are_taken_in_302s_address_has_no_fast_path_for_its_copy_is_to_come(
    catalogue: Catalogue,
) -> None:
    """Let in for the one, a request would be let in again for the other, and count twice."""
    world = World(catalogue, media=MemoryMedia())
    world.downloader.gate = asyncio.Event()
    first = asyncio.get_running_loop().create_task(world.ask())
    await until(lambda: len(world.cache.kept) == 1)
    world.work_elsewhere()
    app, request = Counting(world), posted({"model": MODEL, "prompt": "a cat"})
    async with talking(app) as talk:
        answers = [await answer_to(talk, request) for _ in range(2)]
        world.downloader.gate.set()
        await first
        answers.append(await answer_to(talk, request))

    assert [re.findall(rb'"url":"([^"]+)"', answer) for answer in answers] == [
        *[[b"https://pictures.example/1.png"]] * 2,
        [b"http://a/v1/media/00000000000000000000000000000000.png"],
    ]
    assert app.asked == ["http"] * 3
    assert "admit kept" not in world.transcript()


async def test_a_fault_on_the_fast_path_is_told_and_the_application_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, _ = await hit(world)
    again = Serving(world).again(order)
    broken = ValueError("it broke")

    def breaking(_fingerprint: str, _value: bytes | None) -> Entry | None:
        raise broken

    monkeypatch.setattr(world.cache, "read", breaking)

    assert ask(again) is None
    assert world.observer.faults == [broken]


async def test_a_known_hit_does_not_keep_what_a_reload_replaced(world: World) -> None:
    order, _ = await hit(world)
    reloaded = Serving(world)
    reloaded.gateway = replace(world.gateway)
    again, old = reloaded.again(order), weakref.ref(reloaded.gateway)
    reloaded.gateway = world.gateway
    gc.collect()

    assert old() is None
    assert ask(again) is None
