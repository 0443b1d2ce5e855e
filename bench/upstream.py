"""A fake of 302.AI's `POST /302/image/generate`, and of OpenAI's for other gateways, that costs next to nothing.

Every request says itself how long its answer takes: a body that holds `wait=0750` is answered after 750 ms, any other
at once. So the loader decides the delays, and two runs of the same load meet the same ones. In the same way
`megabytes=2` asks for a picture of that size; `READY` answers at once with what the gateway would make of it.
"""

import argparse
import asyncio
import base64
from typing import cast

import httptools
import uvloop

from bench.prompts import PATH

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
MARK = b"wait="
MEGABYTES = (2, 4)
READY = "/ready"
OPENAI = PATH.encode()


def response(content_type: str, body: bytes) -> bytes:
    """Put a 200 together, once."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def wait_of(body: bytes) -> float:
    """Read how many seconds the answer to this body takes."""
    at = body.find(MARK)
    return int(body[at + len(MARK) : at + len(MARK) + 4]) / 1000 if at >= 0 else 0.0


def name_of(url: bytes, body: bytes) -> str:
    """Tell which answer a request gets."""
    for megabytes in MEGABYTES:
        if b"megabytes=%d;" % megabytes in body or url.endswith(b"%d.png" % megabytes):
            kind = "picture" if url.endswith(b".png") else "ready" if url == READY.encode() else "generate"
            return f"{kind} {megabytes}"
    if url == OPENAI:
        return "openai"
    return "image" if url.endswith(b".png") else "generate"


class Upstream(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, answers: dict[str, bytes]) -> None:
        self.loop = loop
        self.answers = answers
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""
        self.body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand the bytes to the parser, which calls the methods below."""
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Begin a request."""
        self.url = url
        self.body = b""

    def on_body(self, body: bytes) -> None:
        """Collect the body."""
        self.body += body

    def on_message_complete(self) -> None:
        """Answer, now or when the request's wait is over."""
        answer = self.answers[name_of(self.url, self.body)]
        if wait := wait_of(self.body):
            self.loop.call_later(wait, self.answer, answer)
        else:
            self.transport.write(answer)

    def answer(self, answer: bytes) -> None:
        """Write an answer late, unless nobody waits for it any more."""
        if not self.transport.is_closing():
            self.transport.write(answer)


async def serve(port: int) -> None:
    """Serve until stopped."""
    loop = asyncio.get_running_loop()
    body = b'{"image_url":"http://127.0.0.1:%d/img%b.png","data":{}}'
    openai = b'{"created":1700000000,"data":[{"url":"http://127.0.0.1:%d/img.png"}]}' % port
    answers = {"generate": response("application/json", body % (port, b"")), "image": response("image/png", PNG)}
    answers["openai"] = response("application/json", openai)
    for megabytes in MEGABYTES:
        picture = PNG + bytes((megabytes << 20) - len(PNG))
        ready = b'{"created":1700000000,"data":[{"b64_json":"%b"}]}' % base64.b64encode(picture)
        answers[f"generate {megabytes}"] = response("application/json", body % (port, b"%d" % megabytes))
        answers[f"picture {megabytes}"] = response("image/png", picture)
        answers[f"ready {megabytes}"] = response("application/json", ready)
    server = await loop.create_server(lambda: Upstream(loop, answers), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def main() -> None:
    """Serve on the port that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
