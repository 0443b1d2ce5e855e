"""Each transport says truly whether a request may have left, and adds nothing of its own to it."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.adapters.transport import pooled
from gateway.adapters.upstream import KeptTransport
from tests.adapters.servers import OK, Conversation, Handler, answer, exchange, post, refusing, scripted

MAKERS = [pytest.param(pooled, id="aiohttp"), pytest.param(KeptTransport, id="kept")]


@pytest.fixture(params=MAKERS)
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncBaseTransport]:
    made = request.param()
    yield made
    await made.aclose()


async def test_a_refused_connection_is_a_connect_error(transport: httpx.AsyncBaseTransport) -> None:
    taken, url = refusing()

    with taken, pytest.raises(httpx.ConnectError):
        await exchange(transport, post(url))


@pytest.mark.parametrize("url", ["http://nowhere.invalid/", "http://[::ffff:0:0:0]:1/"], ids=["name", "address"])
async def test_an_address_that_leads_nowhere_is_a_connect_error(transport: httpx.AsyncBaseTransport, url: str) -> None:
    with pytest.raises(httpx.ConnectError):
        await exchange(transport, post(url))


async def test_a_server_that_never_answers_the_tls_greeting_is_a_connect_timeout(
    transport: httpx.AsyncBaseTransport,
) -> None:
    async def never(_request: bytes, _peer: Conversation) -> None:
        return

    async with scripted(never) as server:
        with pytest.raises(httpx.ConnectTimeout):
            await exchange(transport, post(server.url.replace("http:", "https:"), connect=0.2))


async def test_a_server_that_speaks_no_tls_is_a_connect_error(transport: httpx.AsyncBaseTransport) -> None:
    async def plain(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    try:
        with pytest.raises(httpx.ConnectError):
            await exchange(transport, post(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    finally:
        server.close()


async def _close(_request: bytes, peer: Conversation) -> None:
    peer.hang_up()


async def _reset(_request: bytes, peer: Conversation) -> None:
    peer.reset()


async def _nonsense(_request: bytes, peer: Conversation) -> None:
    await peer.say(b"\x00\x01 no HTTP at all\r\n\r\n")
    peer.hang_up()


async def _half_a_head(_request: bytes, peer: Conversation) -> None:
    await peer.say(OK[:20])
    peer.hang_up()


async def _half_a_body(_request: bytes, peer: Conversation) -> None:
    await peer.say(OK[:-1])
    peer.hang_up()


async def _reset_in_the_body(_request: bytes, peer: Conversation) -> None:
    await peer.say(OK[:-1])
    peer.reset()


async def _broken_chunks(_request: bytes, peer: Conversation) -> None:
    await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nbroken")
    peer.hang_up()


BREAKS = [_close, _reset, _nonsense, _half_a_head, _half_a_body, _reset_in_the_body, _broken_chunks]


@pytest.mark.parametrize("handler", BREAKS, ids=lambda handler: handler.__name__.strip("_"))
async def test_what_breaks_after_sending_is_never_a_connect_error_and_never_sent_again(
    transport: httpx.AsyncBaseTransport, handler: Handler
) -> None:
    async with scripted(handler) as server:
        with pytest.raises(httpx.TransportError) as caught:
            await exchange(transport, post(server.url))

    assert not isinstance(caught.value, httpx.ConnectError | httpx.ConnectTimeout)
    assert len(server.requests) == 1


async def test_a_kept_connection_that_closes_under_a_post_is_not_replaced_for_it(
    transport: httpx.AsyncBaseTransport,
) -> None:
    async def once(_request: bytes, peer: Conversation) -> None:
        if len(server.requests) == 1:
            await peer.say(OK)
        else:
            peer.hang_up()

    async with scripted(once) as server:
        assert await exchange(transport, post(server.url)) == b"ok"
        with pytest.raises(httpx.TransportError) as caught:
            await exchange(transport, post(server.url))

    assert not isinstance(caught.value, httpx.ConnectError)
    assert (server.connections, len(server.requests)) == (1, 2)


async def test_silence_is_a_read_timeout(transport: httpx.AsyncBaseTransport) -> None:
    async def never(_request: bytes, _peer: Conversation) -> None:
        await asyncio.sleep(0)

    async with scripted(never) as server:
        with pytest.raises(httpx.ReadTimeout):
            await exchange(transport, post(server.url, read=0.1))


async def test_a_body_that_stops_is_a_read_timeout(transport: httpx.AsyncBaseTransport) -> None:
    async def half(_request: bytes, peer: Conversation) -> None:
        await peer.say(OK[:-1])

    async with scripted(half) as server:
        with pytest.raises(httpx.ReadTimeout):
            await exchange(transport, post(server.url, read=0.1))


async def test_a_request_goes_out_as_it_was_made(transport: httpx.AsyncBaseTransport) -> None:
    async def tell(_request: bytes, peer: Conversation) -> None:
        await peer.say(OK)

    async with scripted(tell) as server:
        await exchange(
            transport, httpx.Request("POST", f"{server.url}/a%2Fb?c=%20", content=b"{}", headers={"x-a": "b"})
        )

    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert (lines[0], body) == (b"post /a%2fb?c=%20 http/1.1", b"{}")
    assert sorted(line.partition(b":")[0] for line in lines[1:]) == [b"content-length", b"host", b"x-a"]


async def test_an_answer_comes_back_as_it_was_sent(transport: httpx.AsyncBaseTransport) -> None:
    packed = gzip.compress(b"picture")

    async def tell(_request: bytes, peer: Conversation) -> None:
        await peer.say(
            answer(packed, "Content-Encoding: gzip", "Location: /elsewhere", "Set-Cookie: a=b", status="302 Found")
        )

    async with scripted(tell) as server:
        response = await transport.handle_async_request(post(server.url))
        body = b"".join([chunk async for chunk in response.aiter_raw()])
        await response.aclose()
        await exchange(transport, post(server.url))

    assert (response.status_code, response.headers["location"], body) == (302, "/elsewhere", packed)
    assert len(server.requests) == 2
    assert b"cookie" not in server.requests[1].lower()


async def test_connections_are_kept_and_a_half_read_answer_takes_its_own_along(
    transport: httpx.AsyncBaseTransport,
) -> None:
    async def tell(_request: bytes, peer: Conversation) -> None:
        await peer.say(answer(b"x" * 2_000_000))

    async with scripted(tell) as server:
        for _ in range(3):
            await exchange(transport, post(server.url))
        assert server.connections == 1
        response = await transport.handle_async_request(post(server.url))
        await response.aclose()
        await exchange(transport, post(server.url))

    assert server.connections == 2


async def test_many_calls_at_once_have_each_a_connection(transport: httpx.AsyncBaseTransport) -> None:
    everybody = asyncio.Barrier(120)

    async def together(_request: bytes, peer: Conversation) -> None:
        await everybody.wait()
        await peer.say(OK)

    async with scripted(together) as server:
        answers = await asyncio.gather(*(exchange(transport, post(server.url)) for _ in range(120)))

    assert answers == [b"ok"] * 120
    assert server.connections == 120


async def test_it_can_be_closed_unused_and_twice(transport: httpx.AsyncBaseTransport) -> None:
    await transport.aclose()
    await transport.aclose()
