"""What leaves on the wire: the short way for plain answers says the same as uvicorn's own, whatever is sent how."""

import asyncio
import contextlib
import gc
import socket
import weakref
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.cli.protocol import GatheringProtocol
from gateway.web.middleware import read_body
from gateway.web.render import HIT
from gateway.web.scope import BODY, GONE, HEADERS, REQUEST, WORKED_OUT

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
LAST = GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
PLAIN = (b"content-type", b"text/plain")


@contextlib.asynccontextmanager
async def talking(
    app: ASGIApp, protocol: type[GatheringProtocol] = GatheringProtocol
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to an application behind our protocol."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # As `serve` has it: with a log of uvicorn's own, and headers that it adds, no answer takes the short way.
        config = uvicorn.Config(
            app,
            http=protocol,
            log_config=None,
            lifespan="off",
            ws="none",
            access_log=False,
            server_header=False,
            date_header=False,
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([listener]))
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
        try:
            yield reader, writer
        finally:
            writer.close()
            server.should_exit = server.force_exit = True
            await task


def answering(*bodies: bytes, headers: tuple[tuple[bytes, bytes], ...], at_once: bool = True) -> ASGIApp:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        start: Message = {"type": "http.response.start", "status": 200, "headers": [*headers]}
        if at_once and len(bodies) == 1:
            start[BODY] = bodies[0]
        await send(start)
        for body in bodies[:-1]:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        if not at_once or BODY in start or len(bodies) > 1:
            await send({"type": "http.response.body", "body": bodies[-1]})

    return app


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


POST = b"POST /a%%20b?c=d HTTP/1.1\r\nhost: a\r\nx-name: %b\r\ncontent-length: 4\r\n\r\n%b"
OF_A_REQUEST = ("method", "path", "raw_path", "query_string", "http_version", "headers", "scheme", "server")


class Told:
    """An application that tells what it was asked, with the request's body as its answer."""

    def __init__(self, *more: tuple[bytes, bytes]) -> None:
        self.scopes: list[Scope] = []
        self.more = more

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append({**scope})
        scope[HEADERS] = dict(scope["headers"])
        body = await read_body(scope, receive, 10)
        scope[WORKED_OUT][body] = scope[WORKED_OUT].get(body, 0) + 1
        scope["path"] = "/elsewhere"
        head = ((b"content-length", b"%d" % len(body)), *self.more)
        await answering(body, headers=head)(scope, receive, send)

    async def ask(self, *pieces: bytes, until: bytes) -> None:
        async with talking(self) as (reader, writer):
            for piece in pieces:
                writer.write(piece)
                await reader.readuntil(until)


async def test_a_request_that_comes_again_is_taken_as_the_first_time_and_what_was_found_out_is_there() -> None:
    told = Told(HIT)

    await told.ask(*[POST % (b"first", b"0123")] * 3, POST % (b"other", b"0123"), until=b"0123")

    first, *_, other = told.scopes
    for again in told.scopes[1:3]:
        assert [again[name] for name in OF_A_REQUEST] == [first[name] for name in OF_A_REQUEST]
        assert again[WORKED_OUT] is first[WORKED_OUT]
        assert again["client"] == first["client"]
    assert (first[WORKED_OUT], other[WORKED_OUT]) == ({b"0123": 3}, {b"0123": 1})
    assert (first["path"], dict(other["headers"])[b"x-name"]) == ("/a b", b"other")


@pytest.mark.parametrize(
    "special",
    [
        pytest.param(POST % (b"b" * 5000, b"0123"), id="long"),
        pytest.param(POST % (b"b" + b"\r\na: b" * 50, b"0123"), id="many headers"),
        pytest.param(POST % (b"b", b"0123") + POST % (b"b", b"4567"), id="two at once"),
        pytest.param(POST.replace(b"host", b"expect: 100-continue\r\nhost") % (b"b", b"4567"), id="asks to go on"),
    ],
)
async def test_what_is_special_is_read_anew(special: bytes) -> None:
    told = Told(HIT)

    await told.ask(special, special, until=special[-4:])

    assert len({id(scope[WORKED_OUT]) for scope in told.scopes}) == len(told.scopes) >= 2


async def test_what_was_no_hit_is_read_anew() -> None:
    told = Told((b"x-gateway-cache", b"miss"))

    await told.ask(*[POST % (b"a", b"0123")] * 2, until=b"0123")

    assert [scope[WORKED_OUT][b"0123"] for scope in told.scopes] == [1, 1]


async def test_what_was_seen_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli.protocol._MOST_REQUESTS", 2)
    told = Told(HIT)
    names = (b"a", b"b", b"c", b"a", b"c")

    await told.ask(*(POST % (name, b"0123") for name in names), until=b"0123")

    assert [scope[WORKED_OUT][b"0123"] for scope in told.scopes] == [1, 1, 2, 1, 2]


async def test_a_request_that_comes_in_pieces_after_it_came_whole_is_read() -> None:
    told, request = Told(HIT), POST % (b"a", b"0123")

    async with talking(told) as (reader, writer):
        writer.write(request)
        await reader.readuntil(b"0123")
        writer.write(request[:30])
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(request[30:])
        await reader.readuntil(b"0123")
        writer.write(request)
        await reader.readuntil(b"0123")

    assert [scope[WORKED_OUT][b"0123"] for scope in told.scopes] == [2, 1, 2]


async def test_a_connection_is_closed_when_it_was_idle_for_as_long_as_is_set_and_no_sooner() -> None:
    class Quick(GatheringProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
            super().connection_made(transport)
            self.timeout_keep_alive = 1

    loop = asyncio.get_running_loop()
    async with talking(Told(), Quick) as (reader, writer):
        writer.write(POST % (b"a", b"0123"))
        await reader.readuntil(b"0123")
        await asyncio.sleep(0.3)
        since = loop.time()
        writer.write(POST % (b"a", b"0123"))
        await reader.readuntil(b"0123")
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
