"""What leaves on the wire: the short way for plain answers says the same as uvicorn's own, whatever is sent how."""

import asyncio
import contextlib
import gc
import socket
import time
import weakref

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.cli.protocol import GatheringProtocol
from gateway.web.middleware import read_body
from gateway.web.scope import GONE, HEADERS, REQUEST
from tests.web.talking import answering, listening, talking

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
LAST = GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
PLAIN = (b"content-type", b"text/plain")


CASES = {
    "plain": (((b"content-length", b"2"), PLAIN), (b"ab",), GET),
    "empty": (((b"content-length", b"0"), PLAIN), (b"",), GET),
    "pieces": (((b"content-length", b"4"), PLAIN), (b"ab", b"", b"cd"), GET),
    "no length": ((PLAIN,), (b"ab",), GET),
    "chunked": (((b"transfer-encoding", b"chunked"),), (b"ab",), GET),
    "closing": (((b"content-length", b"2"), (b"connection", b"close")), (b"ab",), GET),
    "asked to close": (
        ((b"content-length", b"2"),),
        (b"ab",),
        GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"),
    ),
    "old": (((b"content-length", b"2"),), (b"ab",), b"GET / HTTP/1.0\r\nhost: a\r\n\r\n"),
    "head": (((b"content-length", b"2"),), (b"ab",), GET.replace(b"GET", b"HEAD")),
    "two at once": (((b"content-length", b"2"),), (b"ab",), GET + GET),
    "large": (((b"content-length", b"300000"),), (b"a" * 300_000,), GET),
    # What must not leave: the connection ends instead, or says that it is our fault.
    "too short": (((b"content-length", b"3"),), (b"ab",), GET),
    "too long": (((b"content-length", b"1"),), (b"ab",), GET),
    "line in value": (((b"content-length", b"2"), (b"x-a", b"b\r\nx-c: d")), (b"ab",), GET),
    "line feed": (((b"content-length", b"2"), (b"x-a", b"b\nx-c: d")), (b"ab",), GET),
    "nul in value": (((b"content-length", b"2"), (b"x-a", b"b\0c")), (b"ab",), GET),
}


async def said(app: ASGIApp, request: bytes) -> bytes:
    """All that the server says to a request, and to one after it that asks to close."""
    async with talking(app) as (reader, writer):
        writer.write(request + LAST)
        return await reader.read()


@pytest.mark.parametrize("case", CASES)
async def test_the_short_way_says_the_same(case: str) -> None:
    headers, bodies, request = CASES[case]

    short = await said(answering(*bodies, headers=headers), request)

    assert short == await said(answering(*bodies, headers=headers, at_once=False), request)
    assert short[:7] in {b"HTTP/1.", b""}
    assert b"\nx-c: d" not in short


@pytest.mark.parametrize("cut", [0, 3, 10])
async def test_a_body_is_read_whole_however_it_comes(cut: int) -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        scope[HEADERS] = dict(scope["headers"])
        body = await read_body(scope, receive, 10)
        await answering(body, headers=((b"content-length", b"%d" % len(body)),))(scope, receive, send)

    async with talking(echo) as (reader, writer):
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n" + b"0123456789"[:cut])
            await writer.drain()
            writer.write(b"0123456789"[cut:])
            answer = await reader.readuntil(b"0123456789")

            assert answer == b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789"


async def test_a_connection_is_closed_when_it_was_idle_for_as_long_as_is_set_and_no_sooner() -> None:
    class Quick(GatheringProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
            super().connection_made(transport)
            self.timeout_keep_alive = 1

    loop = asyncio.get_running_loop()
    async with talking(answering(b"ab", headers=((b"content-length", b"2"),)), Quick) as (reader, writer):
        writer.write(GET)
        await reader.readuntil(b"ab")
        await asyncio.sleep(0.3)
        since = loop.time()
        writer.write(GET)
        await reader.readuntil(b"ab")
        async with asyncio.timeout(30):
            rest = await reader.read()

    assert (rest, loop.time() - since >= 1) == (b"", True)


async def test_whoever_hangs_up_before_the_answer_gets_none() -> None:
    asked, answered = asyncio.Event(), asyncio.Event()

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        await answering(b"ab", headers=((b"content-length", b"2"),))(scope, receive, send)
        answered.set()

    async with talking(late) as (_, writer):
        writer.write(GET)
        await asked.wait()
        writer.transport.abort()
        await answered.wait()


async def test_a_request_that_is_over_leaves_nothing_for_the_garbage_collector() -> None:
    over: list[weakref.ref[object]] = []
    answer = answering(b"ab", headers=((b"content-length", b"2"),))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        over.append(scope[REQUEST])
        scope[HEADERS] = dict(scope["headers"])
        await read_body(scope, receive, 10)
        await answer(scope, receive, send)

    gc.disable()
    try:
        async with talking(app) as (reader, writer):
            for _ in range(3):
                writer.write(GET)
                await reader.readuntil(b"ab")
            assert [request() is None for request in over] == [True, True, False]
    finally:
        gc.enable()


@pytest.mark.parametrize("unread", [b"", GET], ids=["nothing unread", "a request unread"])
async def test_whoever_hangs_up_while_the_event_loop_stands_still_is_known_to_be_gone_at_once(unread: bytes) -> None:
    told: list[bool] = []
    over = asyncio.Event()

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        if over.is_set():
            return
        told.append(scope[GONE]())
        client.sendall(unread)
        client.close()
        stop = time.monotonic() + 2
        while not scope[GONE]() and time.monotonic() < stop:
            time.sleep(0.001)  # noqa: ASYNC251 - the loop is to stand still
        told.append(scope[GONE]())
        over.set()

    async with listening(app) as served:
        client = socket.create_connection(("127.0.0.1", served.port))
        client.sendall(GET)
        await over.wait()

    assert told == [False, True]


async def test_whoever_hangs_up_after_a_long_body_is_known_to_be_gone() -> None:
    told: list[bool] = []
    came, over = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, _send: Send) -> None:
        scope[HEADERS] = dict(scope["headers"])
        await asyncio.sleep(0.2)  # as when its key is looked up: all of the body comes before it is asked for
        assert len(await read_body(scope, receive, 100_000)) == 66_000
        came.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                while not scope[GONE]():  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.01)
        told.append(scope[GONE]())
        over.set()

    async with talking(app) as (_reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 66000\r\n\r\n")
        writer.write(b"a" * 65_000)
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.write(b"a" * 1000)
        await came.wait()
        writer.close()
        await over.wait()

    assert told == [True]


@pytest.mark.parametrize("name", [b"Upgrade: h2c", b"upgrade:h2c "])
async def test_who_offers_http2_is_answered_in_http1_with_its_body_read(name: bytes) -> None:
    async def echo(_scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    fields = (
        b"host: a\r\nConnection: Upgrade, HTTP2-Settings\r\n%b\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n" % name
    )
    async with talking(echo) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\n%bcontent-length: 5\r\n\r\nhello" % fields)
        answer = await reader.readuntil(b"hello")

    assert answer.startswith(b"HTTP/1.1 200")
