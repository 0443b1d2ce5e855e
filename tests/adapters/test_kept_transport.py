"""302's calls on connections of our own: every way an answer can come, break off or never come."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
import uvloop

from gateway.adapters.upstream import KeptTransport
from gateway.adapters.upstream.connection import Connection
from gateway.adapters.upstream.dialling import Dialler
from gateway.adapters.upstream.messages import Origin
from tests.adapters.certificates import certified
from tests.adapters.servers import OK, Conversation, Handler, answer, exchange, post, scripted
from tests.fakes import until

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\nX-Sum: 2\r\n\r\n"
WHOLE = [pytest.param(OK, id="length"), pytest.param(CHUNKED, id="chunked")]


@pytest.fixture
async def transport() -> AsyncIterator[KeptTransport]:
    made = KeptTransport()
    yield made
    await made.aclose()


def saying(*pieces: bytes, then: Callable[[Conversation], None] | None = None) -> Handler:
    async def tell(_request: bytes, peer: Conversation) -> None:
        for piece in pieces:
            await peer.say(piece)
            await asyncio.sleep(0)
        if then is not None:
            then(peer)

    return tell


@pytest.mark.parametrize("whole", WHOLE)
async def test_an_answer_that_is_cut_is_unknown_wherever_it_is_cut(transport: KeptTransport, whole: bytes) -> None:
    for length in range(len(whole)):
        for end in (Conversation.hang_up, Conversation.reset):
            async with scripted(saying(whole[:length], then=end)) as server:
                with pytest.raises(httpx.TransportError) as caught:
                    await exchange(transport, post(server.url))

            assert isinstance(caught.value, httpx.ReadError | httpx.RemoteProtocolError)
            assert len(server.requests) == 1
    await until(lambda: repr(transport) == "KeptTransport(0 open, 0 idle)")


@pytest.mark.parametrize("whole", WHOLE)
async def test_an_answer_may_come_in_any_two_pieces(transport: KeptTransport, whole: bytes) -> None:
    pieces = [(whole[:length], whole[length:]) for length in range(1, len(whole))]

    async def tell(request: bytes, peer: Conversation) -> None:
        await saying(*pieces[len(server.requests) - 1])(request, peer)

    async with scripted(tell) as server:
        answers = [await exchange(transport, post(server.url)) for _ in pieces]

    assert answers == [b"ok"] * len(pieces)
    assert server.connections == 1


@pytest.mark.parametrize(
    "interim",
    [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nRequest-Id: early\r\n\r\n" * 3],
    ids=["continue", "hints"],
)
async def test_interim_answers_are_passed_over(transport: KeptTransport, interim: bytes) -> None:
    async with scripted(saying(interim + OK)) as server:
        response = await transport.handle_async_request(post(server.url))

        assert (response.status_code, response.headers.raw) == (200, [(b"Content-Length", b"2")])
        assert await response.aread() == b"ok"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", id="upgrade"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000, id="endless field"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X-Many: x\r\n" * 10_000, id="endless fields"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000, id="endless interim answers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", id="two lengths"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="two framings"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", id="no length"),
        pytest.param(b"HTTP/3.0 200 OK\r\n\r\n", id="another protocol"),
    ],
)
async def test_what_is_no_answer_we_could_read_is_unknown_and_ends_the_connection(
    transport: KeptTransport, said: bytes
) -> None:
    async with scripted(saying(said)) as server:
        with pytest.raises(httpx.RemoteProtocolError):
            await exchange(transport, post(server.url))
        await until(lambda: repr(transport) == "KeptTransport(0 open, 0 idle)")


async def test_an_answer_without_a_length_ends_with_its_connection(transport: KeptTransport) -> None:
    async with scripted(saying(b"HTTP/1.1 200 OK\r\n\r\no", b"k", then=Conversation.hang_up)) as server:
        assert await exchange(transport, post(server.url)) == b"ok"
        assert await exchange(transport, post(server.url)) == b"ok"

    assert server.connections == 2


async def test_an_answer_without_a_length_that_is_reset_is_unknown(transport: KeptTransport) -> None:
    async with scripted(saying(b"HTTP/1.1 200 OK\r\n\r\nok", then=Conversation.reset)) as server:
        with pytest.raises(httpx.ReadError):
            await exchange(transport, post(server.url))


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(answer(b"ok", "Connection: close"), id="close"),
        pytest.param(OK.replace(b"HTTP/1.1", b"HTTP/1.0"), id="http-1.0"),
        pytest.param(OK + OK, id="two answers to one call"),
        pytest.param(OK + b"x", id="more than was announced"),
    ],
)
async def test_a_connection_that_cannot_be_trusted_with_another_call_gets_none(
    transport: KeptTransport, said: bytes
) -> None:
    async with scripted(saying(said)) as server:
        answers = [await exchange(transport, post(server.url)) for _ in range(3)]

    assert answers == [b"ok"] * 3
    assert server.connections == 3


async def test_what_an_idle_connection_says_ends_it(transport: KeptTransport) -> None:
    peers: list[Conversation] = []

    async def tell(_request: bytes, peer: Conversation) -> None:
        peers.append(peer)
        await peer.say(OK)

    async with scripted(tell) as server:
        await exchange(transport, post(server.url))
        await peers[0].say(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await until(lambda: repr(transport) == "KeptTransport(0 open, 0 idle)")
        assert await exchange(transport, post(server.url)) == b"ok"


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_connection_that_the_server_closed_while_idle_is_never_written_to(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Not even where the event loop had no turn to hear of it."""
    closed, seen = threading.Event(), []

    def serve(listening: socket.socket) -> None:
        for _ in range(2):
            peer, _address = listening.accept()
            seen.append(peer.recv(65536))
            peer.sendall(OK)
            peer.close()
            closed.set()

    async def twice(url: str) -> list[bytes]:
        transport = KeptTransport()
        first = await exchange(transport, post(url))
        assert closed.wait(10)
        second = await exchange(transport, post(url))
        await transport.aclose()
        return [first, second]

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=serve, args=(listening,))
        server.start()
        with asyncio.Runner(loop_factory=loop) as runner:
            answers = runner.run(twice(f"http://127.0.0.1:{listening.getsockname()[1]}"))
        server.join(10)

    assert (answers, len(seen)) == ([b"ok", b"ok"], 2)


async def test_idle_connections_are_let_go() -> None:
    transport = KeptTransport(idle=0.01)
    async with scripted(saying(OK)) as server:
        await asyncio.gather(*(exchange(transport, post(server.url)) for _ in range(3)))

        await until(lambda: repr(transport) == "KeptTransport(0 open, 0 idle)")
        assert await exchange(transport, post(server.url)) == b"ok"
    await transport.aclose()


async def test_each_is_let_go_at_its_own_time() -> None:
    transport = KeptTransport(idle=0.05)
    async with scripted(saying(OK)) as server, scripted(saying(OK)) as other:
        await exchange(transport, post(server.url))
        await asyncio.sleep(0.02)
        await exchange(transport, post(other.url))

        await until(lambda: repr(transport) == "KeptTransport(0 open, 0 idle)")
    await transport.aclose()


async def test_one_that_is_past_its_time_is_not_used_though_it_is_open() -> None:
    transport = KeptTransport(idle=0.0)
    async with scripted(saying(OK)) as server:
        assert [await exchange(transport, post(server.url)) for _ in range(2)] == [b"ok"] * 2
        assert server.connections == 2
    await transport.aclose()


async def test_the_last_one_used_is_the_first_to_be_used_again(transport: KeptTransport) -> None:
    everybody = asyncio.Barrier(3)
    peers: list[Conversation] = []

    async def tell(_request: bytes, peer: Conversation) -> None:
        peers.append(peer)
        if len(peers) <= 3:
            await everybody.wait()
        await peer.say(OK)

    async with scripted(tell) as server:
        await asyncio.gather(*(exchange(transport, post(server.url)) for _ in range(3)))
        for _ in range(4):
            await exchange(transport, post(server.url))

    assert server.connections == 3
    assert len({id(peer.writer) for peer in peers[3:]}) == 1


async def test_origins_share_no_connection(transport: KeptTransport) -> None:
    async with scripted(saying(OK)) as server, scripted(saying(OK)) as other:
        for url in (server.url, other.url, server.url, server.url.replace("127.0.0.1", "localhost")):
            await exchange(transport, post(url))

        assert repr(transport) == "KeptTransport(3 open, 3 idle)"
        assert (server.connections, other.connections) == (2, 1)


async def test_a_trickle_is_not_waited_for_beyond_the_time(transport: KeptTransport) -> None:
    async def trickle(_request: bytes, peer: Conversation) -> None:
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not peer.writer.is_closing():
            await peer.say(b"x")
            await asyncio.sleep(0.001)

    async with scripted(trickle) as server:
        with pytest.raises(httpx.ReadTimeout):
            await exchange(transport, post(server.url, read=0.05))
        await until(lambda: repr(transport) == "KeptTransport(0 open, 0 idle)")


async def test_a_time_limit_is_the_limit_of_its_own_call(transport: KeptTransport) -> None:
    async def tell(request: bytes, peer: Conversation) -> None:
        if b"late" in request:
            await asyncio.sleep(0.6)
        await peer.say(OK)

    async with scripted(tell) as server:
        assert await exchange(transport, post(server.url, read=0.5)) == b"ok"
        assert await exchange(transport, post(server.url, b"late")) == b"ok"

    assert server.connections == 1


@pytest.mark.parametrize("said", [b"", OK[:-1]], ids=["before the answer", "in the answer"])
async def test_a_call_that_is_cancelled_closes_its_connection(transport: KeptTransport, said: bytes) -> None:
    async with scripted(saying(said)) as server:
        call = asyncio.ensure_future(exchange(transport, post(server.url)))
        await until(lambda: len(server.requests) == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

        await until(lambda: repr(transport) == "KeptTransport(0 open, 0 idle)")
        assert len(server.requests) == 1


async def test_a_request_that_was_not_taken_whole_leaves_no_connection_behind(transport: KeptTransport) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        request = post(f"http://127.0.0.1:{listening.getsockname()[1]}", b"x" * 20_000_000)
        call = asyncio.ensure_future(transport.handle_async_request(request))
        peer, _ = await loop.sock_accept(listening)
        with peer:
            await loop.sock_recv(peer, 100)
            await loop.sock_sendall(peer, answer(b"too large", status="413 Content Too Large"))
            response = await call

            assert (response.status_code, await response.aread()) == (413, b"too large")
            await until(lambda: repr(transport) == "KeptTransport(0 open, 0 idle)")


async def test_a_new_connection_that_is_closed_already_is_a_connect_error(
    transport: KeptTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Dialler.dial

    async def dial(
        self: Dialler, origin: Origin, within: float | None, on_lost: Callable[[Connection], None]
    ) -> Connection:
        connection = await real(self, origin, within, on_lost)
        connection.abort()
        return connection

    monkeypatch.setattr(Dialler, "dial", dial)
    async with scripted(saying(OK)) as server:
        with pytest.raises(httpx.ConnectError):
            await exchange(transport, post(server.url))

        assert server.requests == []


async def test_closing_it_ends_the_calls_that_are_on_it(transport: KeptTransport) -> None:
    async with scripted(saying()) as server:
        call = asyncio.ensure_future(exchange(transport, post(server.url)))
        await until(lambda: len(server.requests) == 1)
        await transport.aclose()

        with pytest.raises(httpx.ReadError):
            await call


async def test_a_scheme_it_does_not_speak_is_refused(transport: KeptTransport) -> None:
    with pytest.raises(httpx.UnsupportedProtocol):
        await exchange(transport, post("ftp://127.0.0.1"))


async def test_a_burst_asks_for_a_name_once_and_a_failure_is_not_remembered(
    transport: KeptTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    real = socket.getaddrinfo

    def look_up(host: str, *args: object, **kwargs: object) -> object:
        asked.append(host)
        if len(asked) == 1:
            raise socket.gaierror
        return real("127.0.0.1", *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with scripted(saying(OK)) as server:
        url = server.url.replace("127.0.0.1", "api.302.example")
        with pytest.raises(httpx.ConnectError):
            await exchange(transport, post(url))
        await asyncio.gather(*(exchange(transport, post(url)) for _ in range(20)))

    assert asked == ["api.302.example"] * 2


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's side, certified for 127.0.0.1, and a client's that trusts it."""
    return certified(tmp_path, "127.0.0.1")


async def test_tls_is_kept_too(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    transport = KeptTransport(tls[1])
    async with scripted(saying(OK), tls[0]) as server:
        assert [await exchange(transport, post(server.url)) for _ in range(3)] == [b"ok"] * 3
        assert server.connections == 1
    await transport.aclose()


async def test_an_answer_that_is_cut_under_tls_is_unknown(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    transport = KeptTransport(tls[1])
    for end in (Conversation.hang_up, Conversation.reset):
        for said in (b"", OK[:20], OK[:-1]):
            async with scripted(saying(said, then=end), tls[0]) as server:
                with pytest.raises(httpx.TransportError) as caught:
                    await exchange(transport, post(server.url))
            assert isinstance(caught.value, httpx.ReadError | httpx.RemoteProtocolError)
            assert len(server.requests) == 1
    await transport.aclose()


@pytest.mark.parametrize("fault", ["nobody vouches for it", "it is another server's"])
async def test_a_certificate_that_does_not_hold_is_a_connect_error_and_nothing_is_sent(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], tmp_path: Path, fault: str
) -> None:
    side, trusting = certified(tmp_path, "127.0.0.2") if "another" in fault else (tls[0], None)
    transport = KeptTransport(trusting)
    async with scripted(saying(OK), side) as server:
        with pytest.raises(httpx.ConnectError):
            await exchange(transport, post(server.url))

        assert server.requests == []
    await transport.aclose()
