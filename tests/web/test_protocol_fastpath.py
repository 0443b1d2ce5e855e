"""A request that comes again byte for byte: answered by what the application left for it, in order, or by it itself."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from starlette.types import Receive, Scope, Send

from gateway.cli.protocol import GatheringProtocol
from gateway.web.fastpath import OnReply, RawReply
from gateway.web.middleware import read_body
from gateway.web.scope import FAST_PATH, HEADERS
from tests.fakes import until
from tests.web.talking import Listening, Seen, answer_to, answering, listening, talking

POST = b"POST /a?c=d HTTP/1.1\r\nhost: a\r\nx-name: %b\r\ncontent-length: %d\r\n\r\n%b"


def request(body: bytes, name: bytes = b"first") -> bytes:
    return POST % (name, len(body), body)


def head_of(body: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-length", b"%d" % len(body)), (b"x-body", body)]


def known(body: bytes) -> RawReply:
    return RawReply(b"".join([b"%b: %b\r\n" % header for header in head_of(body)]), body)


class Hits:
    """An application whose answers, the request's own body, are all hits; it tells who was asked for which.

    It tells what to answer at once, or leaves that to the test, which finds how to tell it in `waiting`.
    """

    def __init__(self, *, late: bool = False) -> None:
        self.begun = 0
        self.asked: list[bytes] = []
        self.again: list[bytes] = []
        self.is_known = True
        self.known: Callable[[bytes], RawReply | None] = known
        self.waiting: asyncio.Queue[OnReply] = asyncio.Queue()
        self._late = late

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun += 1
        scope[HEADERS] = dict(scope["headers"])
        body = await read_body(scope, receive, 100)
        self.asked.append(body)
        if self.is_known:
            scope[FAST_PATH] = partial(self._answer, body)
        await answering(body, headers=(*head_of(body),))(scope, receive, send)

    def _answer(self, body: bytes, tell: OnReply) -> None:
        self.again.append(body)
        if self._late:
            self.waiting.put_nowait(tell)
        else:
            tell(self.known(body))


def only_connection(served: Listening) -> GatheringProtocol:
    [protocol] = served.server.server_state.connections
    assert isinstance(protocol, GatheringProtocol)
    return protocol


async def test_it_is_answered_on_any_connection_without_the_application_and_byte_for_byte_as_before() -> None:
    hits = Hits()

    async with listening(hits) as served:
        async with served.connect() as talk:
            answers = [await answer_to(talk, request(b"0123")) for _ in range(4)]
        async with served.connect() as talk:
            answers.append(await answer_to(talk, request(b"0123")))

    assert answers == [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nx-body: 0123\r\n\r\n0123"] * 5
    assert (hits.asked, hits.again) == ([b"0123"], [b"0123"] * 4)


@pytest.mark.parametrize(
    "other",
    [
        request(b"0124"),
        request(b"0123", b"firsT"),
        request(b"0123").replace(b"c=d", b"c=e"),
        request(b"0123").replace(b"x-name: ", b"x-name:"),
    ],
)
async def test_one_that_differs_in_a_byte_is_another(other: bytes) -> None:
    hits = Hits()

    async with talking(hits) as talk:
        answers = [await answer_to(talk, one) for one in [request(b"0123"), other] * 2]

    assert hits.asked == hits.again == [b"0123", other[-4:]]
    assert [answer[-4:] for answer in answers] == [b"0123", other[-4:]] * 2


async def test_what_cannot_be_answered_again_is_asked_for_and_known_anew() -> None:
    hits = Hits()
    answers_again = [known(b"0123"), None, known(b"0123")]
    hits.known = lambda _body: answers_again.pop(0)

    async with talking(hits) as talk:
        answers = {await answer_to(talk, request(b"0123")) for _ in range(4)}

    assert len(answers) == 1
    assert (hits.asked, len(hits.again), answers_again) == ([b"0123"] * 2, 3, [])


async def test_what_is_no_hit_any_more_is_forgotten() -> None:
    hits = Hits()
    hits.known = lambda _body: None

    async with talking(hits) as talk:
        await answer_to(talk, request(b"0123"))
        hits.is_known = False
        for _ in range(3):
            await answer_to(talk, request(b"0123"))

    assert (len(hits.asked), len(hits.again)) == (4, 1)


CLOSING = b"connection: close\r\nhost"


@pytest.mark.parametrize(
    ("special", "end"),
    [
        pytest.param(request(b"0123", b"b" * 4096), b"0123", id="long"),
        pytest.param(request(b"0123") + request(b"4567"), b"4567", id="two-at-once"),
        pytest.param(request(b"0123").replace(b"host", b"expect: 100-continue\r\nhost"), b"0123", id="asks-to-go-on"),
        pytest.param(request(b"0123").replace(b"host", CLOSING), b"0123", id="closing"),
        pytest.param(request(b"0123").replace(b"HTTP/1.1", b"HTTP/1.0"), b"0123", id="old"),
        pytest.param(request(b"0123").replace(b"POST", b"HEAD"), b"\r\n\r\n", id="head"),
    ],
)
async def test_what_is_special_is_always_read(special: bytes, end: bytes) -> None:
    hits = Hits()

    async with listening(hits) as served:
        for _ in range(3):
            async with served.connect() as (reader, writer):
                writer.write(special)
                await reader.readuntil(end)

    assert hits.again == []
    assert len(hits.asked) == 3 * special.count(b"HTTP/1.")


async def test_the_longest_that_is_known_has_4096_bytes() -> None:
    hits = Hits()
    longest = request(b"0123", b"b" * (4096 - len(request(b"0123", b""))))

    async with talking(hits) as talk:
        for _ in range(2):
            await answer_to(talk, longest)

    assert (len(longest), hits.again) == (4096, [b"0123"])


async def test_what_is_known_is_bounded_and_the_oldest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli.protocol._MOST_REQUESTS", 2)
    hits = Hits()

    async with talking(hits) as talk:
        for body in (b"a", b"b", b"c", b"a", b"c", b"b", b"a"):
            await answer_to(talk, request(body))

    assert (hits.asked, hits.again) == ([b"a", b"b", b"c", b"a", b"b"], [b"c", b"a"])


async def test_one_that_comes_in_pieces_after_it_came_whole_is_read() -> None:
    hits, seen, whole = Hits(), Seen(), request(b"0123")

    async with talking(hits, seen.protocol) as talk:
        answers = [await answer_to(talk, whole)]
        await seen.write(talk, whole[:30])
        answers += [await answer_to(talk, whole[30:]), await answer_to(talk, whole)]

    assert len(set(answers)) == 1
    assert (len(hits.asked), len(hits.again)) == (2, 1)


@pytest.mark.parametrize("can_be", [True, False], ids=["answered", "asked-for"])
@pytest.mark.parametrize("next_", [b"known", b"new"])
@pytest.mark.parametrize("cut", [0, 20, -2], ids=["whole", "half", "almost-whole"])
async def test_what_comes_while_it_waits_is_taken_after_it(*, can_be: bool, next_: bytes, cut: int) -> None:
    hits, seen = Hits(late=True), Seen()
    first, second = request(b"first"), request(next_)
    cut = cut % len(second) or len(second)

    async with listening(hits, seen.protocol) as served, served.connect() as talk:
        for body in (b"first", b"known"):
            await answer_to(talk, request(body))
        talk[1].write(first)
        tell = await hits.waiting.get()
        await seen.write(talk, second[:cut])
        assert only_connection(served).flow.read_paused
        talk[1].write(second[cut:])
        if next_ == b"known" and can_be and cut == len(second):
            tell(known(b"first"))
            tell = await hits.waiting.get()
            assert await answer_to(talk) == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-body: first\r\n\r\nfirst"
            tell(known(b"known"))
        else:
            tell(known(b"first") if can_be else None)
            assert (await answer_to(talk)).endswith(b"\r\n\r\nfirst")
        assert (await answer_to(talk)).endswith(b"\r\n\r\n" + next_)
        # And then all goes on as ever.
        talk[1].write(first)
        (await hits.waiting.get())(known(b"first"))
        assert (await answer_to(talk)).endswith(b"\r\n\r\nfirst")

    assert hits.waiting.empty()
    assert hits.asked[2:] == ([] if can_be else [b"first"]) + (
        [] if can_be and next_ == b"known" and cut == len(second) else [next_]
    )


@pytest.mark.parametrize("can_be", [True, False], ids=["answered", "asked-for"])
async def test_whoever_hangs_up_while_it_waits_is_gone_and_nothing_is_asked_for_him(*, can_be: bool) -> None:
    hits = Hits(late=True)

    async with listening(hits) as served:
        async with served.connect() as (reader, writer):
            await answer_to((reader, writer), request(b"0123"))
            writer.write(request(b"0123"))
            tell = await hits.waiting.get()
            writer.transport.abort()
        await until(lambda: not served.server.server_state.connections)
        tell(known(b"0123") if can_be else None)
        async with served.connect() as talk:
            talk[1].write(request(b"0123"))
            (await hits.waiting.get())(known(b"0123"))
            assert (await answer_to(talk)).endswith(b"\r\n\r\n0123")

    assert (len(hits.asked), len(hits.again)) == (1, 2)


@pytest.mark.parametrize("can_be", [True, False], ids=["answered", "asked-for"])
@pytest.mark.parametrize("more", [b"", request(b"more"), request(b"0123"), request(b"more")[:20]])
async def test_a_server_that_ends_still_answers_it_and_says_that_the_connection_closes(
    *, can_be: bool, more: bytes
) -> None:
    hits, seen = Hits(late=True), Seen()

    async with listening(hits, seen.protocol) as served, served.connect() as talk:
        await answer_to(talk, request(b"0123"))
        talk[1].write(request(b"0123"))
        tell = await hits.waiting.get()
        if more:
            await seen.write(talk, more)
        served.server.should_exit = True
        await seen.ending.wait()
        tell(known(b"0123") if can_be else None)
        rest = await talk[0].read()
        await served.over

    assert rest == b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nx-body: 0123\r\nconnection: close\r\n\r\n0123"
    # And nobody begins what nobody will be told of.
    assert (hits.begun, len(hits.again)) == (1 if can_be else 2, 1)


async def test_a_connection_is_not_idle_while_it_waits_but_is_when_it_was_answered() -> None:
    hits, loop = Hits(late=True), asyncio.get_running_loop()

    async with listening(hits) as served, served.connect() as talk:
        await answer_to(talk, request(b"0123"))
        talk[1].write(request(b"0123"))
        tell = await hits.waiting.get()
        protocol = only_connection(served)
        protocol.timeout_keep_alive = 0
        protocol.timeout_keep_alive_handler()  # as its timer does in its time
        protocol.timeout_keep_alive = 1
        since = loop.time()
        tell(known(b"0123"))
        assert (await answer_to(talk)).endswith(b"\r\n\r\n0123")
        async with asyncio.timeout(30):
            rest = await talk[0].read()

    assert (rest, loop.time() - since >= 1) == (b"", True)
