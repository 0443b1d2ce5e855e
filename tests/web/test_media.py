"""`/v1/media/{name}` on a real folder, and over a real connection where it matters."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Final

import httpx
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.adapters.clock import SystemClock
from gateway.adapters.media import Limits, ObjectMedia, open_media
from gateway.core.errors import GatewayError
from gateway.core.held import Held
from gateway.core.outcome import Outcome
from gateway.ports import MediaInfo, MediaStore, MediaUnavailableError
from gateway.web.media import Choice, MediaEndpoint, choose, media_reply
from gateway.web.middleware import send_reply
from gateway.web.render import error_reply
from gateway.web.scope import HEADERS, OUTCOME

PNG: Final = b"\x89PNG\r\n\x1a\n" + bytes(92)
INFO: Final = MediaInfo(size=100, media_type="image/png", etag="a" * 32, modified=1_700_000_000.75)
NAME: Final = "a" * 32 + ".png"
MODIFIED: Final = "Tue, 14 Nov 2023 22:13:20 GMT"


@dataclass
class FakeMedia:
    """A store of one picture that counts what is read, and fails when it is told to."""

    data: bytes = PNG
    fails_after: int = 10**9
    reads: list[tuple[int, int]] = field(default_factory=list)

    async def keep(self, data: bytes, media_type: str) -> str:
        raise MediaUnavailableError

    async def find(self, name: str) -> MediaInfo | None:
        if self.fails_after < 0:
            raise MediaUnavailableError
        return MediaInfo(len(self.data), "image/png", "a" * 32, 0.0) if name == NAME else None

    async def read(self, name: str, start: int, end: int) -> bytes:
        if len(self.reads) >= self.fails_after:
            raise MediaUnavailableError
        self.reads.append((start, end))
        return self.data[start:end]

    async def hold(self, name: str) -> Held:
        raise MediaUnavailableError


def app(media: MediaStore, outcomes: list[Outcome] | None = None) -> ASGIApp:
    """The endpoint as it is served: by the path's last part, errors as answers."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        outcome = Outcome("req_1", scope["method"])
        scope[OUTCOME], scope[HEADERS] = outcome, dict(scope["headers"])
        scope["path_params"] = {"name": scope["path"].removeprefix("/v1/media/")}
        try:
            reply = await MediaEndpoint(media).serve(scope, receive)
        except GatewayError as error:
            reply = error_reply(error)
        if outcomes is not None:
            outcomes.append(outcome)
        await send_reply(reply, send)

    return serve


def client(media: MediaStore, outcomes: list[Outcome] | None = None) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app(media, outcomes))
    return httpx.AsyncClient(transport=transport, base_url="http://gateway/v1/media/")


@pytest.fixture
def media(tmp_path: Path) -> ObjectMedia:
    return open_media("local", tmp_path, Limits(1e6, 2**40), SystemClock())


@contextlib.asynccontextmanager
async def served(media: MediaStore) -> AsyncIterator[int]:
    """The port of a real server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app(media), log_level="critical", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            await serving


class TestChoose:
    """What a request gets of a picture of 100 bytes."""

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            pytest.param("bytes=0-9", (206, 0, 10), id="the first ten"),
            pytest.param("bytes=0-0", (206, 0, 1), id="the first one"),
            pytest.param("bytes=99-99", (206, 99, 100), id="the last one"),
            pytest.param("bytes=10-", (206, 10, 100), id="from the tenth on"),
            pytest.param("bytes=0-", (206, 0, 100), id="all"),
            pytest.param("bytes=-10", (206, 90, 100), id="the last ten"),
            pytest.param("bytes=-100", (206, 0, 100), id="a suffix of all"),
            pytest.param("bytes=-1000", (206, 0, 100), id="a suffix of more than all"),
            pytest.param("bytes=90-1000", (206, 90, 100), id="to beyond the end"),
            pytest.param("bytes=90-99999999999999999999999999", (206, 90, 100), id="to far beyond the end"),
            pytest.param("bytes=0000000000000000000000000001-2", (206, 1, 3), id="leading zeros"),
            pytest.param("Bytes=1-2", (206, 1, 3), id="upper case"),
            pytest.param("bytes= 1-2\t", (206, 1, 3), id="spaces"),
            pytest.param("bytes=100-", (416, 0, 0), id="from the end on"),
            pytest.param("bytes=100-200", (416, 0, 0), id="beyond the end"),
            pytest.param("bytes=99999999999999999999999999-", (416, 0, 0), id="far beyond the end"),
            pytest.param(f"bytes={'9' * 5000}-{'9' * 5000}", (416, 0, 0), id="more digits than Python reads"),
            pytest.param("bytes=-0", (416, 0, 0), id="a suffix of nothing"),
            pytest.param("bytes=9-5", (200, 0, 100), id="backwards"),
            pytest.param("bytes=0-1,5-6", (200, 0, 100), id="several"),
            pytest.param("bytes=-", (200, 0, 100), id="neither end"),
            pytest.param("bytes=", (200, 0, 100), id="no range"),
            pytest.param("bytes", (200, 0, 100), id="no equals sign"),
            pytest.param("", (200, 0, 100), id="empty"),
            pytest.param("items=0-5", (200, 0, 100), id="another unit"),
            pytest.param("bytes=0x1-2", (200, 0, 100), id="hexadecimal"),
            pytest.param("bytes=--5", (200, 0, 100), id="a negative suffix"),
            pytest.param("bytes=+1-2", (200, 0, 100), id="a sign"),
            pytest.param("bytes=1 - 2", (200, 0, 100), id="spaces inside"),
            pytest.param("bytes=1-2\n", (200, 0, 100), id="a line end"),
            pytest.param("bytes=²-5", (200, 0, 100), id="no ASCII digit"),
        ],
    )
    def test_ranges(self, asked: str, expected: tuple[int, int, int]) -> None:
        choice = choose(INFO, {b"range": asked.encode("latin-1")})

        assert (choice.status, choice.start, choice.end) == expected

    def test_head_has_no_ranges(self) -> None:
        assert choose(INFO, {b"range": b"bytes=0-9"}, head=True).status == 200

    @pytest.mark.parametrize(
        ("headers", "expected"),
        [
            pytest.param({"if-none-match": f'"{"a" * 32}"'}, 304, id="its tag"),
            pytest.param({"if-none-match": f'W/"{"a" * 32}"'}, 304, id="its tag, made weak by a proxy"),
            pytest.param({"if-none-match": f'"b", "{"a" * 32}"'}, 304, id="its tag among others"),
            pytest.param({"if-none-match": "*"}, 304, id="any tag"),
            pytest.param({"if-none-match": '"b"'}, 200, id="another tag"),
            pytest.param({"if-none-match": "a" * 32}, 200, id="no quotes"),
            pytest.param({"if-none-match": ""}, 200, id="no tag"),
            pytest.param(
                {"if-none-match": '"b"', "if-modified-since": MODIFIED}, 200, id="the tag goes before the date"
            ),
            pytest.param({"if-modified-since": MODIFIED}, 304, id="its date"),
            pytest.param({"if-modified-since": "Tue, 14 Nov 2023 22:13:21 GMT"}, 304, id="a later date"),
            pytest.param({"if-modified-since": "Tue, 14 Nov 2023 22:13:19 GMT"}, 200, id="an earlier date"),
            pytest.param({"if-modified-since": "yesterday"}, 200, id="no date"),
            pytest.param({"if-modified-since": "Tue, 99 Nov 2023 22:13:20 GMT"}, 200, id="an impossible date"),
            pytest.param({"if-none-match": "*", "range": "bytes=200-"}, 304, id="conditions go before ranges"),
            pytest.param({"if-range": f'"{"a" * 32}"', "range": "bytes=0-9"}, 206, id="a range of this very picture"),
            pytest.param({"if-range": MODIFIED, "range": "bytes=0-9"}, 206, id="a range of this very date"),
            pytest.param({"if-range": '"b"', "range": "bytes=0-9"}, 200, id="a range of another"),
            pytest.param({"if-range": f'W/"{"a" * 32}"', "range": "bytes=0-9"}, 200, id="a range by a weak tag"),
            pytest.param({"if-range": '"b"', "range": "bytes=200-"}, 200, id="no range beyond the end of another"),
            pytest.param({"if-range": f'"{"a" * 32}"'}, 200, id="no range"),
        ],
    )
    def test_conditions(self, headers: dict[str, str], expected: int) -> None:
        choice = choose(INFO, {name.encode(): value.encode() for name, value in headers.items()})

        assert choice.status == expected

    @given(st.binary(max_size=40) | st.from_regex(rb"bytes=[0-9]{0,5}-[0-9]{0,5}"), st.integers(1, 1000))
    def test_whatever_is_asked_lies_within_the_picture(self, asked: bytes, size: int) -> None:
        choice = choose(MediaInfo(size, "image/png", "a", 0.0), {b"range": asked})

        match choice.status:
            case 200:
                assert (choice.start, choice.end) == (0, size)
            case 206:
                assert 0 <= choice.start < choice.end <= size
            case _:
                assert choice == Choice(choice.status, 0, 0)
                assert choice.status == 416


class TestReply:
    def test_a_whole_picture(self) -> None:
        reply = media_reply(INFO, choose(INFO, {}), (PNG,))

        assert (reply.status, reply.length, reply.pieces) == (200, 100, (PNG,))
        assert dict(reply.headers) == {
            b"content-type": b"image/png",
            b"content-disposition": b"inline",
            b"accept-ranges": b"bytes",
            b"access-control-allow-origin": b"*",
            b"content-security-policy": b"default-src 'none'",
            b"cache-control": b"public, max-age=31536000, immutable",
            b"etag": b'"' + b"a" * 32 + b'"',
            b"last-modified": MODIFIED.encode(),
        }

    def test_a_part_says_which(self) -> None:
        reply = media_reply(INFO, choose(INFO, {b"range": b"bytes=-10"}), (PNG[90:],))

        assert (reply.status, reply.length) == (206, 10)
        assert dict(reply.headers)[b"content-range"] == b"bytes 90-99/100"

    def test_not_modified_has_validators_and_no_length(self) -> None:
        reply = media_reply(INFO, choose(INFO, {b"if-none-match": b"*"}), ())

        assert (reply.status, reply.length, reply.pieces) == (304, None, ())
        assert {b"etag", b"cache-control", b"last-modified"} < dict(reply.headers).keys()
        assert b"content-type" not in dict(reply.headers)


class TestServed:
    @pytest.mark.parametrize(
        ("media_type", "size"),
        [("image/png", 1), ("image/jpeg", 65_536), ("image/webp", 262_145), ("image/gif", 10**6)],
    )
    async def test_a_kept_picture_is_served(self, media: ObjectMedia, media_type: str, size: int) -> None:
        data = os.urandom(size)
        name = await media.keep(data, media_type)

        async with client(media) as http:
            answer = await http.get(name)
            head = await http.head(name)

        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, data, media_type)
        assert (head.status_code, head.content, head.headers) == (200, b"", answer.headers)
        assert answer.headers["content-length"] == str(size)

    async def test_a_key_is_neither_needed_nor_minded(self, media: ObjectMedia) -> None:
        name = await media.keep(PNG, "image/png")

        async with client(media) as http:
            answer = await http.get(name, headers={"authorization": "Bearer nonsense"})

        assert answer.status_code == 200

    @pytest.mark.parametrize(("start", "end"), [(0, 1), (100, 300_000), (262_143, 262_145), (999_999, 1_000_000)])
    async def test_a_range(self, media: ObjectMedia, start: int, end: int) -> None:
        data = os.urandom(1_000_000)
        name = await media.keep(data, "image/png")

        async with client(media) as http:
            answer = await http.get(name, headers={"range": f"bytes={start}-{end - 1}"})

        assert (answer.status_code, answer.content) == (206, data[start:end])
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/1000000"

    async def test_a_download_that_broke_is_taken_up_again(self, media: ObjectMedia) -> None:
        data = os.urandom(500_000)
        name = await media.keep(data, "image/png")

        async with client(media) as http:
            first = await http.get(name, headers={"range": "bytes=0-199999"})
            resume = {"range": "bytes=200000-", "if-range": first.headers["etag"]}
            second = await http.get(name, headers=resume)

        assert first.content + second.content == data

    async def test_a_range_beyond_the_end_is_told_in_openais_shape(self) -> None:
        outcomes: list[Outcome] = []
        async with client(FakeMedia(), outcomes) as http:
            answer = await http.get(NAME, headers={"range": "bytes=100-"})

        assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */100")
        assert (answer.headers["x-should-retry"], answer.headers["accept-ranges"]) == ("false", "bytes")
        assert answer.json() == {
            "error": {
                "message": "The range lies outside of the picture, which has 100 bytes.",
                "type": "invalid_request_error",
                "param": "range",
                "code": "invalid_value",
            }
        }
        assert (outcomes[0].endpoint, outcomes[0].code) == ("media", "invalid_value")

    async def test_what_the_browser_has_is_not_sent_again(self) -> None:
        fake = FakeMedia()
        async with client(fake) as http:
            tag = (await http.head(NAME)).headers["etag"]
            answer = await http.get(NAME, headers={"if-none-match": tag})

        assert (answer.status_code, answer.content, fake.reads) == (304, b"", [])
        assert "content-length" not in answer.headers

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize(
        "name", [f"{'b' * 32}.png", "nonsense", "", "..%2F..%2Fsecret", f"aa/{'a' * 32}.png", "%00", "%ff"]
    )
    async def test_an_unknown_name_is_404(self, media: ObjectMedia, method: str, name: str) -> None:
        async with client(media) as http:
            answer = await http.request(method, f"http://gateway/v1/media/{name}")

        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
        if method == "GET":
            assert answer.json()["error"]["code"] == "unknown_url"
        assert "immutable" not in answer.headers.get("cache-control", "")

    @pytest.mark.parametrize("fails_after", [-1, 0], ids=["find", "read"])
    async def test_a_store_that_fails_is_told_before_anything_was_sent(self, fails_after: int) -> None:
        async with client(FakeMedia(fails_after=fails_after)) as http:
            answer = await http.get(NAME)

        assert (answer.status_code, answer.headers["x-should-retry"]) == (502, "true")
        assert answer.json()["error"]["code"] == "image_unavailable"


class TestOnTheWire:
    async def test_every_answer_of_a_connection_ends_where_it_says(self, media: ObjectMedia) -> None:
        """304, HEAD and 416 leave nothing behind that the next answer would begin with."""
        data = os.urandom(300_000)
        name = await media.keep(data, "image/png")
        headers: list[dict[str, str]] = [
            {"if-none-match": "*"},
            {"range": "bytes=300000-"},
            {"range": "bytes=1-2"},
            {"if-modified-since": formatdate(4e9, usegmt=True)},
            {},
        ]

        async with served(media) as port, httpx.AsyncClient(trust_env=False) as http:
            url = f"http://127.0.0.1:{port}/v1/media/{name}"
            statuses = [(await http.get(url, headers=each)).status_code for each in headers]
            head = await http.head(url)
            last = await http.get(url)

        assert statuses == [304, 416, 206, 304, 200]
        assert (head.headers["content-length"], head.content, last.content) == ("300000", b"", data)

    async def test_a_client_that_does_not_read_holds_the_store_back(self) -> None:
        fake = FakeMedia(os.urandom(32 * 1024 * 1024))

        async with served(fake) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=64 * 1024)
            writer.write(f"GET /v1/media/{NAME} HTTP/1.1\r\nhost: gateway\r\n\r\n".encode())
            stalled = await _settled(lambda: len(fake.reads))
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(len(fake.data))
            writer.close()

        # What the kernel holds for a connection is some megabytes; the rest was not asked for.
        assert stalled * 256 * 1024 < 16 * 1024 * 1024
        assert (head.startswith(b"HTTP/1.1 200"), body == fake.data) == (True, True)
        assert max(end - start for start, end in fake.reads) == 256 * 1024

    async def test_pieces_are_small(self) -> None:
        fake, sent = FakeMedia(os.urandom(1_000_000)), list[bytes]()

        async def send(message: Message) -> None:
            sent.append(message.get("body", b""))

        await app(fake)(_scope(), _receive, send)

        assert b"".join(sent) == fake.data
        assert max(map(len, sent)) == 64 * 1024

    async def test_a_picture_that_is_swept_while_it_is_read_ends_the_connection(self) -> None:
        """What was promised by the length does not come: the client must see that, and never a whole picture."""
        fake = FakeMedia(bytes(2_000_000), fails_after=3)

        async with served(fake) as port, httpx.AsyncClient(trust_env=False) as http:
            with pytest.raises(httpx.RemoteProtocolError):
                await http.get(f"http://127.0.0.1:{port}/v1/media/{NAME}")


def _scope() -> Scope:
    return {"type": "http", "method": "GET", "path": f"/v1/media/{NAME}", "headers": []}


async def _receive() -> Message:
    return {"type": "http.disconnect"}


async def _settled(count: Callable[[], int]) -> int:
    """A count that has stopped growing."""
    before = 0
    for _ in range(40):
        await asyncio.sleep(0.5)
        if 0 < before == count():
            return before
        before = count()
    pytest.fail("it grows and grows")
