"""What goes over httpx's seam, whichever transport stands behind it."""

import asyncio

import httpx
import pytest

from gateway.adapters.upstream import KeptTransport, Wire
from gateway.adapters.upstream.wire import Call
from gateway.core.reply import Reply
from tests.adapters.servers import Conversation, answer, scripted

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


def test_a_call_is_told_without_its_key() -> None:
    assert repr(Call("POST", "/302/image/generate", "sk-secret", b"{}")) == "Call(POST /302/image/generate)"
