"""httpx's messages as our transport carries them: whole for whoever looks, whatever is done to them."""

import pickle
from collections.abc import Callable
from copy import copy

import httpx
import pytest

from gateway.adapters.upstream import KeptTransport, Wire
from gateway.adapters.upstream.wire import Call
from tests.adapters.servers import OK, answer, scripted


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


def rewritten(request: httpx.Request) -> None:
    """Put another body in its place, first of all."""
    request.stream = httpx.ByteStream(b"[]")


def read_and_rewritten(request: httpx.Request) -> None:
    """Put a longer body in the place of the one that was read."""
    request.stream = httpx.ByteStream(request.read() + b" " * 3)
    request.headers["content-length"] = "5"


def copied(request: httpx.Request) -> None:
    """Take a copy of it before anything else."""
    assert copy(request).url.path == "/draw"


@pytest.mark.parametrize(
    ("touch", "first_line", "also", "sent"),
    [
        pytest.param(as_it_came, b"POST /draw HTTP/1.1", b"authorization: Bearer sk-one", b"{}", id="nothing"),
        pytest.param(marked, b"POST /draw HTTP/1.1", b"x-mark: seen", b"{}", id="a-header-more"),
        pytest.param(replaced, b"POST /draw HTTP/1.1", b"host: other", b"{}", id="other-headers"),
        pytest.param(rerouted, b"POST /elsewhere HTTP/1.1", b"user-agent: gateway302", b"{}", id="another-path"),
        pytest.param(rewritten, b"POST /draw HTTP/1.1", b"user-agent: gateway302", b"[]", id="another-body"),
        pytest.param(read_and_rewritten, b"POST /draw HTTP/1.1", b"content-length: 5", b"{}   ", id="a-longer-body"),
        pytest.param(copied, b"POST /draw HTTP/1.1", b"content-length: 2", b"{}", id="a-copy"),
    ],
)
async def test_what_a_transport_in_between_does_to_a_request_is_what_leaves(
    touch: Callable[[httpx.Request], None], first_line: bytes, also: bytes, sent: bytes
) -> None:
    async with scripted(lambda _, conversation: conversation.say(OK)) as server:
        transport = Passing(as_it_came)
        wire = Wire(transport, server.url)
        for one in (as_it_came, touch, as_it_came):
            transport.touch = one
            await wire.exchange(Call("POST", "/draw", "sk-one", b"{}"))
        await transport.aclose()

    before, touched, after = server.requests
    head, _, body = touched.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert (lines[0], body) == (first_line.lower(), sent)
    assert also.lower() in lines
    assert after == before


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


async def test_a_part_of_an_answer_may_be_set_before_any_is_looked_at() -> None:
    async with scripted(lambda _, conversation: conversation.say(OK)) as server:
        transport = KeptTransport()
        response = await transport.handle_async_request(httpx.Request("POST", server.url, content=b"{}"))
        response.headers = httpx.Headers({"request-id": "mine"})
        await response.aread()
        await transport.aclose()

    assert (response.text, response.headers["request-id"], response.is_closed) == ("ok", "mine", True)


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


async def test_no_prompt_is_in_what_is_pickled() -> None:
    kept: list[bytes] = []
    async with scripted(lambda _, conversation: conversation.say(OK)) as server:
        transport = Passing(lambda request: kept.append(pickle.dumps(request)))
        await Wire(transport, server.url).exchange(Call("POST", "/draw", "sk-one", b'{"prompt": "a secret"}'))
        response = await transport.inner.handle_async_request(httpx.Request("POST", server.url, content=b"{}"))
        kept.append(pickle.dumps(response))
        await transport.aclose()

    request, answered = [pickle.loads(one) for one in kept]  # noqa: S301 - our own
    assert (request.url.path, answered.status_code) == ("/draw", 200)
    assert b"secret" not in kept[0]
