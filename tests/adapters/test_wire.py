"""What goes over httpx's seam, whichever transport stands behind it."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from gateway.adapters.upstream import KeptTransport, Wire
from gateway.adapters.upstream.wire import Call
from gateway.core.reply import Reply
from tests.adapters.servers import OK, Conversation, answer, scripted

FIELDS = {
    "authorization": "Bearer sk-one",
    "content-type": "application/json",
    "accept": "application/json",
    "accept-encoding": "identity",
    "user-agent": "gateway302",
}


@pytest.mark.parametrize(
    ("base", "url", "host"),
    [
        ("https://api.302.ai", "https://api.302.ai/302/draw?a=b", "api.302.ai"),
        ("https://api.302.ai:443/", "https://api.302.ai/302/draw?a=b", "api.302.ai"),
        ("http://[::1]:8302/mirror", "http://[::1]:8302/mirror/302/draw?a=b", "[::1]:8302"),
    ],
    ids=["plain", "the scheme's own port", "port and path"],
)
async def test_each_request_is_whole_as_httpx_would_make_it(base: str, url: str, host: str) -> None:
    seen: list[tuple[str, str, dict[str, str], bytes]] = []

    def tell(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, str(request.url), dict(request.headers), request.content))
        return httpx.Response(200)

    wire = Wire(httpx.MockTransport(tell), base)
    for call in (
        Call("POST", "/302/draw?a=b", "sk-one", b"{}"),
        Call("POST", "/302/draw?a=b", "sk-one", b'{"a": 1}'),
        Call("GET", "/302/draw?a=b", "sk-one"),
    ):
        await wire.exchange(call)

    assert seen == [
        ("POST", url, {"host": host, **FIELDS, "content-length": "2"}, b"{}"),
        ("POST", url, {"host": host, **FIELDS, "content-length": "8"}, b'{"a": 1}'),
        ("GET", url, {"host": host, **FIELDS}, b""),
    ]


async def test_an_answer_is_told_with_its_id_and_how_long_302_asks_to_wait() -> None:
    told: list[str] = []

    async def on_head(request_id: str) -> None:
        told.append(request_id)

    said = httpx.Response(429, headers={"Request-ID": "r-1", "Retry-After": "3"}, content=b"busy")
    wire = Wire(httpx.MockTransport(lambda _request: said), "https://api.302.ai")

    assert await wire.exchange(Call("POST", "/", "sk-one", b""), on_head) == Reply(429, b"busy", "3", "r-1")
    assert told == ["r-1"]


class Passing(httpx.AsyncBaseTransport):
    """An operator's transport around ours, which does something to each request."""

    def __init__(self, touch: Callable[[httpx.Request], None]) -> None:
        self.inner = KeptTransport()
        self.touch = touch

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.touch(request)
        return await self.inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


def as_it_came(_request: httpx.Request) -> None:
    """Do nothing to a request."""


def marked(request: httpx.Request) -> None:
    """Add a header."""
    request.headers["x-mark"] = "seen"


def replaced(request: httpx.Request) -> None:
    """Put other headers in their place, without a look at what is there."""
    request.headers = httpx.Headers({"host": "other", "content-length": "2"})


def rerouted(request: httpx.Request) -> None:
    """Change where it goes."""
    request.url = request.url.copy_with(path="/elsewhere")


@pytest.mark.parametrize(
    ("touch", "first_line", "also"),
    [
        pytest.param(as_it_came, b"POST /draw HTTP/1.1", b"authorization: Bearer sk-one", id="nothing"),
        pytest.param(marked, b"POST /draw HTTP/1.1", b"x-mark: seen", id="a-header-more"),
        pytest.param(replaced, b"POST /draw HTTP/1.1", b"host: other", id="other-headers"),
        pytest.param(rerouted, b"POST /elsewhere HTTP/1.1", b"user-agent: gateway302", id="another-path"),
    ],
)
async def test_what_a_transport_in_between_does_to_a_request_is_what_leaves(
    touch: Callable[[httpx.Request], None], first_line: bytes, also: bytes
) -> None:
    async with scripted(lambda _, conversation: conversation.say(OK)) as server:
        transport = Passing(touch)
        wire = Wire(transport, server.url)
        await wire.exchange(Call("POST", "/draw", "sk-one", b"{}"))
        transport.touch = as_it_came  # what was done to the first is not done to the second
        await wire.exchange(Call("POST", "/draw", "sk-one", b"{}"))
        await transport.aclose()

    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert (lines[0], body) == (first_line.lower(), b"{}")
    assert also.lower() in lines
    assert server.requests[1].startswith(b"POST /draw HTTP/1.1\r\n")
    assert b"x-mark" not in server.requests[1]


async def test_an_answer_is_whole_for_whoever_looks_at_it() -> None:
    said = answer(b"picture", "Request-ID: r-1", "Content-Type: text/plain; charset=utf-8")
    async with (
        scripted(lambda _, conversation: conversation.say(said)) as server,
        httpx.AsyncClient(transport=KeptTransport()) as client,
    ):
        response = await client.post(server.url, content=b"{}")

    assert (response.status_code, response.text, response.headers["request-id"]) == (200, "picture", "r-1")
    assert (response.is_success, response.is_closed, response.charset_encoding) == (True, True, "utf-8")
    assert not hasattr(response, "no_such_part")


async def test_headers_that_a_transport_in_between_has_changed_are_those_of_the_answer() -> None:
    class Naming(Passing):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await super().handle_async_request(request)
            response.headers["request-id"] = "another"
            return response

    async with scripted(lambda _, conversation: conversation.say(answer(b"{}", "Request-ID: r-1"))) as server:
        transport = Naming(as_it_came)
        reply = await Wire(transport, server.url).exchange(Call("POST", "/", "sk-one", b"{}"))
        await transport.aclose()

    assert reply.request_id == "another"


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        pytest.param([answer(b"whole", "Request-ID: r-1")], [], id="at-once"),
        pytest.param([answer(b"whole", "Request-ID: r-1")[:-2], b"le"], ["r-1"], id="its-end-later"),
    ],
)
async def test_an_id_is_told_early_only_where_the_answer_is_not_there_yet(pieces: list[bytes], told: list[str]) -> None:
    heard: list[str] = []
    goes_on = asyncio.Event()

    async def on_head(request_id: str) -> None:
        heard.append(request_id)
        goes_on.set()

    async def say(_request: bytes, conversation: Conversation) -> None:
        await conversation.say(pieces[0])
        for piece in pieces[1:]:
            await goes_on.wait()
            await conversation.say(piece)

    async with scripted(say) as server:
        transport = KeptTransport()
        reply = await Wire(transport, server.url).exchange(Call("POST", "/", "sk-one", b"{}"), on_head)
        await transport.aclose()

    assert (reply.body, reply.request_id, heard) == (b"whole", "r-1", told)
