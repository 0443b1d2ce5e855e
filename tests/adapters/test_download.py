"""The guarded fetcher gets pictures: from the upstream, from mirrors, after a while; and nothing that is none."""

import errno
import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.adapters.clock import SystemClock
from gateway.adapters.download import MAX_BYTES, GuardedDownloader, Hosts
from gateway.adapters.shelf import Shelf
from gateway.adapters.transport import pooled
from gateway.core.errors import GatewayError, Kind
from gateway.core.held import Held
from tests.acceptance.pictures import png
from tests.adapters.fetching import fetching
from tests.adapters.servers import Conversation, answer, scripted

PNG = png()


async def _picture(_request: bytes, peer: Conversation) -> None:
    await peer.say(answer(PNG))


async def test_a_picture_of_the_upstreams_own_origin_is_fetched_without_our_key() -> None:
    async with scripted(_picture) as server, fetching(server.url) as fetch:
        assert await fetch(f"{server.url}/gpt/imgs/1.png") == PNG

    head = server.requests[0].lower()
    assert head.startswith(b"get /gpt/imgs/1.png http/1.1\r\n")
    assert b"accept-encoding: identity" in head
    assert b"authorization" not in head
    assert b"cookie" not in head


@pytest.mark.parametrize(
    "said", [answer(PNG), b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + PNG], ids=["length", "no-length"]
)
@pytest.mark.parametrize("budget", [0, 2**20], ids=["in-a-file", "in-memory"])
async def test_it_is_held_wherever_there_is_room(said: bytes, budget: int) -> None:
    async def tell(_request: bytes, peer: Conversation) -> None:
        await peer.say(said)
        peer.hang_up()

    async with scripted(tell) as server, fetching(server.url, budget=budget) as fetch:
        assert await fetch(server.url) == PNG


class FullShelf:
    """A disk without room."""

    async def hold(self, chunks: AsyncIterator[bytes], size: int | None) -> Held:
        raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_full_disk_is_a_fetch_that_may_be_tried_again() -> None:
    trusted, clock = pooled(), SystemClock()
    async with scripted(_picture) as server:
        downloader = GuardedDownloader(pooled(), trusted, Hosts.of(server.url, []), FullShelf(), clock)
        with pytest.raises(GatewayError) as caught:
            await downloader.fetch(server.url, clock.monotonic() + 20)
        await trusted.aclose()

    assert (caught.value.kind, len(server.requests)) == (Kind.IMAGE_UNAVAILABLE, 4)


@pytest.mark.parametrize("with_port", [True, False], ids=["host-and-port", "host"])
async def test_a_picture_of_a_mirror_is_fetched(with_port: bool) -> None:
    async with scripted(_picture) as server:
        mirror = f"127.0.0.1:{server.port}" if with_port else "127.0.0.1"
        async with fetching("https://api.302.ai", [mirror]) as fetch:
            assert await fetch(f"{server.url}/1.png") == PNG


async def test_another_port_of_a_mirror_is_another_host() -> None:
    async with scripted(_picture) as server, fetching("https://api.302.ai", ["127.0.0.1:1"]) as fetch:
        with pytest.raises(GatewayError):
            await fetch(f"{server.url}/1.png")

    assert server.connections == 0


@pytest.mark.parametrize("data", [b"\xff\xd8\xff\xe0jpeg", b"RIFF....WEBPVP8 ", b"GIF89a..", b"GIF87a.."])
async def test_every_kind_of_picture_is_one(data: bytes) -> None:
    async def tell(_request: bytes, peer: Conversation) -> None:
        await peer.say(answer(data, "Content-Type: text/html"))

    async with scripted(tell) as server, fetching(server.url) as fetch:
        assert await fetch(server.url) == data


NO_PICTURES = {
    "html": answer(b"<html></html>", "Content-Type: image/png"),
    "svg": answer(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "Content-Type: image/svg+xml"),
    "empty": answer(b""),
    "text-before": answer(b" " + PNG),
    "gzip": answer(gzip.compress(PNG), "Content-Encoding: gzip"),
    "says-gzip": answer(PNG, "Content-Encoding: gzip"),
    "brotli": answer(PNG, "Content-Encoding: br"),
    "gone": answer(PNG, status="410 Gone"),
    "unauthorized": answer(PNG, status="401 Unauthorized"),
    "bad-request": answer(PNG, status="400 Bad Request"),
    "redirect-to-nowhere": answer(PNG, status="302 Found"),
}


@pytest.mark.parametrize("said", NO_PICTURES.values(), ids=NO_PICTURES)
async def test_what_is_no_picture_is_refused_at_once(said: bytes) -> None:
    async def tell(_request: bytes, peer: Conversation) -> None:
        await peer.say(said)

    async with scripted(tell) as server, fetching(server.url) as fetch:
        with pytest.raises(GatewayError) as caught:
            await fetch(server.url)

    assert caught.value.kind is Kind.IMAGE_UNAVAILABLE
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", ["404 Not Found", "403 Forbidden", "429 Too Many Requests", "503 Busy"])
async def test_a_picture_that_is_late_is_asked_for_again(status: str) -> None:
    async def late(_request: bytes, peer: Conversation) -> None:
        await peer.say(answer(PNG) if len(server.requests) == 4 else answer(b"", status=status))

    async with scripted(late) as server, fetching(server.url) as fetch:
        assert await fetch(server.url) == PNG

    assert len(server.requests) == 4


async def test_a_broken_connection_is_tried_again_and_not_for_ever() -> None:
    async def broken(_request: bytes, peer: Conversation) -> None:
        await peer.say(answer(PNG)[:-1])
        peer.hang_up()

    async with scripted(broken) as server, fetching(server.url) as fetch:
        with pytest.raises(GatewayError) as caught:
            await fetch(server.url)

    assert caught.value.kind is Kind.IMAGE_UNAVAILABLE
    assert len(server.requests) == 4


async def test_a_picture_beyond_the_cap_is_not_read_to_its_end() -> None:
    said = 0

    async def endless(_request: bytes, peer: Conversation) -> None:
        nonlocal said
        await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while said < 2 * MAX_BYTES:
            await peer.say(b"100000\r\n" + PNG[:8] + bytes(0x100000 - 8) + b"\r\n")
            said += 0x100000

    async with scripted(endless) as server, fetching(server.url) as fetch:
        with pytest.raises(GatewayError) as caught:
            await fetch(server.url)

    assert caught.value.kind is Kind.IMAGE_UNAVAILABLE
    assert len(server.requests) == 1
    assert said < 1.5 * MAX_BYTES


@pytest.mark.parametrize(("hops", "fetched"), [(0, True), (2, True), (3, False), (50, False)])
async def test_two_redirects_are_followed_and_no_more(hops: int, fetched: bool) -> None:
    async def onward(request: bytes, peer: Conversation) -> None:
        number = int(request.split(b" ")[1].strip(b"/"))
        more = answer(b"", f"Location: /{number + 1}", status="302 Found")
        await peer.say(answer(PNG) if number == hops else more)

    async with scripted(onward) as server, fetching(server.url) as fetch:
        if fetched:
            assert await fetch(f"{server.url}/0") == PNG
        else:
            with pytest.raises(GatewayError):
                await fetch(f"{server.url}/0")

    assert len(server.requests) == min(hops, 2) + 1


@pytest.mark.parametrize("left", [0.2, 0.0, -5.0], ids=["soon", "now", "past"])
async def test_the_deadline_of_the_caller_ends_it(left: float, tmp_path: Path) -> None:
    async def silent(_request: bytes, _peer: Conversation) -> None:
        return

    transports, clock = (pooled(), pooled()), SystemClock()
    async with scripted(silent) as server:
        downloader = GuardedDownloader(*transports, Hosts.of(server.url, []), Shelf(tmp_path, 0), clock)
        with pytest.raises(GatewayError) as caught:
            await downloader.fetch(server.url, clock.monotonic() + left)
        for transport in transports:
            await transport.aclose()

    assert caught.value.kind is Kind.IMAGE_UNAVAILABLE
