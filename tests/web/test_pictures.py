"""Pictures as bytes: whole at the reader's end, never piled up on the way, and let go of however the answer ends.

And what else is seen best with the whole application on a world of fakes: Azure's paths, and preflights.
"""

import asyncio
import dataclasses
import random
from base64 import b64decode
from typing import Any, Final

import orjson
import pytest
from starlette.types import ASGIApp, Message

from gateway.core.catalogue import Catalogue
from gateway.core.errors import GatewayError, Kind
from tests.fakes import FakeDownloader, FakeHeld, until
from tests.web.application import MEGABYTE, serving
from tests.web.talking import listening
from tests.world import FIRST, MODEL, World

PATH: Final = "/v1/images/generations"
# Longer than a block, and no multiple of a piece.
DATA: Final = random.Random(302).randbytes(700_001)


class GoneError(Exception):
    """The client is gone, as a server tells it that does not swallow it."""


class Client:
    """A client of the application itself, which may hang up after some pieces of a body."""

    def __init__(self, pieces: int = 10**9, name: bytes | None = None) -> None:
        self.pieces = pieces
        self.name = name
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.largest = 0

    async def ask(self, app: ASGIApp, path: str = PATH, **fields: object) -> None:
        body = orjson.dumps({"model": MODEL, "prompt": "a cat", "response_format": "b64_json", **fields})
        headers = [
            (b"host", b"gateway"),
            (b"authorization", b"Bearer " + FIRST),
            (b"content-type", b"application/json"),
        ]
        if self.name is not None:
            headers.append((b"idempotency-key", self.name))

        async def receive() -> Message:
            return {"type": "http.request", "body": body}

        scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
        await app(scope, receive, self._take)

    async def preflight(self, app: ASGIApp, origin: str, method: str) -> None:
        headers = [(b"host", b"gateway"), (b"origin", origin.encode())]
        headers.append((b"access-control-request-method", method.encode()))

        async def receive() -> Message:
            return {"type": "http.request"}

        self.body = b""
        await app({"type": "http", "method": "OPTIONS", "path": PATH, "headers": headers}, receive, self._take)

    @property
    def answer(self) -> Any:  # noqa: ANN401 - whatever JSON came
        return orjson.loads(self.body)

    async def _take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
            return
        if self.pieces == 0:
            raise GoneError
        self.pieces -= 1
        self.body += message["body"]
        self.largest = max(self.largest, len(message["body"]))


@pytest.fixture
def world(catalogue: Catalogue) -> World:
    world = World(catalogue)
    world.downloader.data = DATA
    return world


def all_closed(world: World) -> bool:
    return bool(world.downloader.held) and all(held.closed for held in world.downloader.held)


@pytest.mark.parametrize("named", [None, "stable-sd3", "no-such-model"])
async def test_the_model_of_azures_path_decides(world: World, named: str | None) -> None:
    client, path = Client(), "/openai/deployments/luma/images/generations"

    await client.ask(serving(world), path, model=named, response_format="url")

    assert client.status == 200
    assert "send luma-t2i" in world.transcript()


@pytest.mark.parametrize(
    ("origin", "method", "said"),
    [
        ("https://elsewhere.example", "POST", "Disallowed CORS origin: "),
        ("https://app.example", "PUT", "Disallowed CORS method: "),
    ],
)
async def test_a_refused_preflight_is_an_error_like_every_other(
    world: World, origin: str, method: str, said: str
) -> None:
    client = Client()
    app = serving(world, cors_origins=("https://app.example",))

    await client.preflight(app, origin, method)

    assert (client.status, client.headers[b"content-type"]) == (400, b"application/json")
    assert client.headers[b"x-request-id"].startswith(b"req_")
    assert client.headers[b"x-should-retry"] == b"false"
    assert b"origin" in client.headers[b"vary"].lower()
    assert client.answer["error"]["code"] == "invalid_headers"
    assert client.answer["error"]["message"].startswith(said)
    await client.preflight(app, "https://app.example", "POST")
    assert (client.status, client.headers[b"access-control-allow-origin"]) == (200, b"https://app.example")


async def test_every_byte_arrives_in_pieces_and_of_the_length_that_is_told(world: World) -> None:
    client = Client()

    await client.ask(serving(world), n=2)

    assert [b64decode(image["b64_json"], validate=True) for image in client.answer["data"]] == [DATA, DATA]
    assert int(client.headers[b"content-length"]) == len(client.body)
    assert client.largest <= 64 * 1024
    assert all_closed(world)


@pytest.mark.parametrize("keepalive_after", [0.0, 60.0], ids=["plain", "kept-alive"])
@pytest.mark.parametrize("pieces", [0, 1, 5])
async def test_a_client_that_hangs_up_leaves_nothing_held(world: World, pieces: int, keepalive_after: float) -> None:
    await Client(pieces).ask(serving(world, keepalive_after), n=2)

    assert all_closed(world)
    assert world.observer.faults


@pytest.mark.parametrize("keepalive_after", [0.0, 60.0], ids=["plain", "kept-alive"])
async def test_of_several_pictures_one_that_fails_leaves_nothing_held(world: World, keepalive_after: float) -> None:
    world.downloader.failure, world.downloader.failing = GatewayError(Kind.IMAGE_UNAVAILABLE, "later"), "/2."
    world.downloader.gate = asyncio.Event()
    client = Client()

    await client.ask(serving(world, keepalive_after), n=3)
    world.downloader.gate.set()
    await until(lambda: len(world.downloader.held) == 2)

    assert (client.status, client.answer["error"]["code"]) == (502, "image_unavailable")
    await until(lambda: all_closed(world))


async def test_white_space_comes_before_a_picture_too(world: World) -> None:
    world.upstream.gate = asyncio.Event()
    client = Client()

    asking = asyncio.create_task(client.ask(serving(world, keepalive_after=0.001)))
    await until(lambda: client.body == b" ")
    world.upstream.gate.set()

    await asking
    assert b64decode(client.answer["data"][0]["b64_json"]) == DATA
    assert all_closed(world)


async def test_who_hangs_up_on_white_space_leaves_nothing_held(world: World) -> None:
    world.upstream.gate = asyncio.Event()

    await Client(pieces=0).ask(serving(world, keepalive_after=0.001))
    world.upstream.gate.set()

    await until(lambda: all_closed(world))


async def test_a_stream_lets_go_of_each_picture_when_it_is_sent(world: World) -> None:
    client = Client()

    await client.ask(serving(world), n=2, stream=True)

    events = [event.partition(b"data: ")[2] for event in client.body.split(b"\n\n") if event.startswith(b"event: ")]
    assert [b64decode(orjson.loads(event)["b64_json"], validate=True) for event in events] == [DATA, DATA]
    assert client.largest <= 64 * 1024
    assert all_closed(world)


async def test_while_it_drains_a_stream_is_refused_before_its_head_unless_its_picture_is_kept(world: World) -> None:
    await Client().ask(serving(world), stream=True)
    world.gateway.drain.begin()
    kept, new = Client(), Client()

    await kept.ask(serving(world), stream=True)
    await new.ask(serving(world), stream=True, prompt="a dog")

    assert (kept.status, b"completed" in kept.body) == (200, True)
    assert (new.status, new.headers[b"x-should-retry"]) == (503, b"true")


async def test_a_stream_that_comes_again_by_its_idempotency_key_is_told_the_same(world: World) -> None:
    first, again, other = (Client(name=b"once") for _ in range(3))

    await first.ask(serving(world), n=2, stream=True)
    world.clock.advance(8000)
    await again.ask(serving(world), n=2, stream=True)
    await other.ask(serving(world), n=2, stream=True, prompt="a dog")

    assert [b"idempotent-replayed" in client.headers for client in (first, again)] == [False, True]
    assert [client.body.count(b"event: image_generation.completed") for client in (first, again)] == [2, 2]
    assert (len(world.upstream.bodies), other.status) == (2, 422)


async def test_a_stream_that_failed_tells_the_same_failure_by_its_idempotency_key(world: World) -> None:
    world.upstream.failure = GatewayError(Kind.CONTENT_POLICY, "no")
    first, again = (Client(name=b"once") for _ in range(2))

    await first.ask(serving(world), stream=True)
    await again.ask(serving(world), stream=True)

    assert [b"content_policy_violation" in client.body for client in (first, again)] == [True, True]
    assert len(world.upstream.bodies) == 1


@pytest.mark.parametrize("pieces", [0, 1, 2, 5])
async def test_who_hangs_up_on_a_stream_leaves_nothing_held(world: World, pieces: int) -> None:
    await Client(pieces).ask(serving(world), n=2, stream=True)
    await world.gateway.flights.drain()

    assert all(held.closed for held in world.downloader.held)


class Endless(FakeHeld):
    """A picture much longer than any buffer on the way to a reader, that counts what is read of it."""

    def __init__(self) -> None:
        super().__init__(b"")
        self.given = 0

    @property
    def size(self) -> int:
        return 1024 * MEGABYTE

    async def read(self, start: int, end: int) -> bytes:
        self.given = end
        return bytes(end - start)


async def test_a_reader_that_does_not_read_gets_nothing_more_and_holds_up_nobody(world: World) -> None:
    endless = Endless()

    class OnePicture(FakeDownloader):
        async def fetch(self, url: str, deadline: float) -> FakeHeld:
            return endless

    world.gateway = dataclasses.replace(
        world.gateway, gallery=dataclasses.replace(world.gateway.gallery, downloader=OnePicture())
    )
    body = orjson.dumps({"model": MODEL, "prompt": "a cat", "response_format": "b64_json"})
    head = f"POST {PATH} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {FIRST.decode()}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    async with listening(serving(world)) as served:
        _, stalled = await asyncio.open_connection("127.0.0.1", served.port, limit=1)
        stalled.write(head.encode() + body)
        await until(lambda: endless.given > 0)
        reader, other = await asyncio.open_connection("127.0.0.1", served.port)
        for _ in range(200):  # each is some turns of the loop, in which an unhindered answer would grow
            other.write(b"GET /livez HTTP/1.1\r\nhost: gateway\r\n\r\n")
            await reader.readuntil(b'{"status":"ok"}')
        # What the two kernels' buffers take is some megabytes.
        assert endless.given < 32 * MEGABYTE
        assert not endless.closed

        stalled.transport.abort()
        await until(lambda: endless.closed)
        other.close()
