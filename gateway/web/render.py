"""The only writer of bodies and of the headers that explain them.

Pictures leave in pieces: base64 of a picture is made while the client takes it, never as a whole.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from math import ceil
from typing import Any, Final

import msgspec
import orjson
import pybase64

from gateway.core.catalogue import MICRO, Model
from gateway.core.coerce import Adjustment
from gateway.core.errors import GatewayError, Kind
from gateway.core.jobs import Job, describe
from gateway.core.order import NO_TOKENS, Answer, Order, Picture, located
from gateway.core.outcome import BYPASS, HIT, JOINED, MISS, WORDS
from gateway.core.shapes import Free, Ratios, Sides, Sizes, Unshaped
from gateway.core.standing import Standing, go_duration

Headers = list[tuple[bytes, bytes]]

REPLAYED: Final = (b"idempotent-replayed", b"true")
JSON: Final = (b"content-type", b"application/json")
# A multiple of three bytes, so that the pieces of base64 join without padding.
_PIECE: Final = 3 * 16 * 1024
# What is read of a picture at a time: a slow reader holds one block and one piece.
_BLOCK: Final = 4 * _PIECE
_CLOSING: Final = b'"}'
# When to ask for a job that is not done: pictures take seconds.
_COME_BACK: Final = (b"retry-after", b"2")
_AT_ONCE: Final = (b"retry-after", b"1")
RATE_LIMITS: Final = {
    measure: tuple(b"x-ratelimit-%b-%b" % (word, measure.encode()) for word in (b"limit", b"remaining", b"reset"))
    for measure in ("requests", "images")
}
_OUTPUT_FORMATS: Final = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}
_SIZES: Final = frozenset({"1024x1024", "1024x1536", "1536x1024"})
USAGE: Final = b',"usage":' + orjson.dumps(NO_TOKENS)
# When the catalogue's source page was read; OpenAI's clients want a date of each model.
_CREATED: Final = 1_745_000_000
_FORWARDED: Final = {
    JOINED: b"gateway; fwd=miss; collapsed",
    MISS: b"gateway; fwd=miss",
    BYPASS: b"gateway; fwd=request",
}
_CACHE_WORDS: Final = tuple((b"x-gateway-cache", word.encode()) for word in WORDS)


def _nothing() -> None:
    return None


class Reply(msgspec.Struct, frozen=True, gc=False):
    """An answer: its head, and its body in pieces; `length` is of all together, None where nobody knows it yet.

    `close` is called when it is sent, or cannot be.
    """

    status: int
    headers: Headers
    length: int | None
    pieces: Iterable[bytes] | AsyncIterable[bytes]
    close: Callable[[], None] = _nothing


async def all_pieces(reply: Reply) -> AsyncIterator[bytes]:
    """The body of a reply, whether or not its pieces have to be waited for."""
    if isinstance(reply.pieces, AsyncIterable):
        async for piece in reply.pieces:
            yield piece
    else:
        for piece in reply.pieces:
            yield piece


def json_reply(value: object, status: int = 200, headers: Headers | None = None) -> Reply:
    """A small JSON body."""
    body = orjson.dumps(value)
    return Reply(status, [JSON, *(headers or [])], len(body), (body,))


def error_reply(error: GatewayError) -> Reply:
    """OpenAI's error object, and whether to try again."""
    row = error.kind.row
    headers: Headers = [(b"x-should-retry", b"true" if row.retry else b"false")]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, ceil(error.retry_after))))
        headers.append((b"retry-after-ms", b"%d" % max(1, ceil(error.retry_after * 1000))))
    headers += standing_headers(error.standings)
    if error.replayed:
        headers.append(REPLAYED)
    if row.status == Kind.INVALID_API_KEY.row.status:
        headers.append((b"www-authenticate", b"Bearer"))
    return json_reply({"error": error_body(error)}, row.status, headers)


def length_header(reply: Reply) -> Headers:
    """How long a reply's body is, as a header; nothing where nobody knows it yet."""
    return [] if reply.length is None else [(b"content-length", b"%d" % reply.length)]


def standing_headers(standings: Iterable[Standing]) -> Headers:
    """Where the caller stands with its limits, as OpenAI says it; nothing where there are none."""
    headers: Headers = []
    for standing in standings:
        limit, remaining, reset = RATE_LIMITS[standing.measure]
        values = standing_values(standing)  # no zip: every answer comes by here
        headers += ((limit, values[0]), (remaining, values[1]), (reset, values[2]))
    return headers


def standing_values(standing: Standing) -> tuple[bytes, bytes, bytes]:
    """The values of a standing's headers."""
    return b"%d" % standing.limit, b"%d" % standing.remaining, go_duration(standing.reset).encode()


def error_body(error: GatewayError) -> dict[str, object]:
    """OpenAI's error object."""
    return {**error.body}


def images_reply(answer: Answer, origin: str, close: Callable[[], None] = _nothing) -> Reply:
    """OpenAI's ImagesResponse; `origin` begins the addresses in our own store, `close` lets go of the pictures."""
    headers = [
        JSON,
        *_cache_headers(answer.pictures),
        *adjusted_header(answer.adjustments),
        *standing_headers(answer.standings),
    ]
    if answer.replayed:
        headers.append(REPLAYED)
    return _pictures(headers, b"{", answer, origin, close)


def taken_headers(job: Job, order: Order, *, preferred: bool) -> Headers:
    """Of a request that was taken to be done later: where to ask for it and when, and what changed in it."""
    return [
        (b"location", b"/v1/images/jobs/" + job.id.encode()),
        *([(b"preference-applied", b"respond-async")] if preferred else []),
        *([] if job.ended is None else [_AT_ONCE]),
        *adjusted_header(order.plan.adjustments),
        *standing_headers(order.standings),
    ]


def job_reply(job: Job) -> Reply:
    """A job without pictures: it is not done, so come back, or it failed."""
    told = describe(job)
    if job.ended is None:
        return json_reply(told, headers=[_COME_BACK])
    error = job.ended.error
    return json_reply(told if error is None else {**told, "error": error.body})


def done_reply(job: Job, answer: Answer, origin: str, close: Callable[[], None]) -> Reply:
    """A job with its pictures: what is told of a job and OpenAI's ImagesResponse are one object."""
    return _pictures([JSON], orjson.dumps(describe(job))[:-1] + b",", answer, origin, close)


def _pictures(headers: Headers, begun: bytes, answer: Answer, origin: str, close: Callable[[], None]) -> Reply:
    if answer.format == "url":
        body = addresses(answer, origin, begun)
        return Reply(200, headers, len(body), (body,))
    head = begun + b'"created":%d,"data":[' % answer.created
    usage = USAGE if answer.usage else b""
    tail = b"]" + _facts(answer.pictures) + usage + b"}"
    both = answer.format == "both"
    parts = [(_opening(index, picture, origin, both=both), picture) for index, picture in enumerate(answer.pictures)]
    length = len(head) + len(tail)
    for opening, picture in parts:
        length += len(opening) + encoded_length(picture) + len(_CLOSING)
    return Reply(200, headers, length, _pieces(head, parts, tail), close)


def addresses(answer: Answer, origin: str, begun: bytes = b"{") -> bytes:
    """The body of an answer whose pictures were asked for by their addresses."""
    urls = b",".join([b'{"url":%b}' % _url(picture, origin) for picture in answer.pictures])
    return b'%b"created":%d,"data":[%b]%b}' % (begun, answer.created, urls, USAGE if answer.usage else b"")


def adjusted_header(adjustments: Sequence[Adjustment]) -> Headers:
    """What had to change, in one header; none where nothing did."""
    return [(b"x-gateway-adjusted", ", ".join(map(str, adjustments)).encode())] if adjustments else []


def encoded_length(picture: Picture) -> int:
    """How long a picture's base64 is."""
    return 4 * ((picture.data.size + 2) // 3) if picture.data else 0


async def encoded(picture: Picture) -> AsyncIterator[bytes]:
    """A picture's base64, piece by piece."""
    if picture.data is None:
        return
    for start in range(0, picture.data.size, _BLOCK):
        block = memoryview(await picture.data.read(start, start + _BLOCK))
        for place in range(0, len(block), _PIECE):
            yield pybase64.b64encode(block[place : place + _PIECE])
        # A quick reader's picture must not keep the others waiting.
        await asyncio.sleep(0)


def output_format(picture: Picture) -> str | None:
    """OpenAI's word for a picture's type, where they have one."""
    return _OUTPUT_FORMATS.get(picture.data.media_type or "") if picture.data else None


def size_word(picture: Picture) -> str | None:
    """A picture's size, where it is one that the types of OpenAI's SDKs allow in an answer."""
    size = picture.data.dimensions if picture.data else None
    word = f"{size[0]}x{size[1]}" if size else ""
    return word if word in _SIZES else None


def models_reply(models: Iterable[Model]) -> Reply:
    """The list of models."""
    return json_reply({"object": "list", "data": [model_object(model) for model in models]})


def model_object(model: Model) -> dict[str, Any]:
    """OpenAI's Model, and what this one takes; `price` in USD an image."""
    return {
        "id": model.id,
        "object": "model",
        "created": _CREATED,
        "owned_by": "302ai",
        "capabilities": {
            "shape": model.shape_name,
            "kind": model.shape.kind,
            "supported": list(model.shape.supported()),
            "fallback": _fallback(model),
            "image": model.image,
            "sibling": model.sibling,
            "price": model.price / MICRO,
        },
    }


def _fallback(model: Model) -> str | None:
    match model.shape:
        case Ratios() | Sizes():
            return str(model.shape.fallback)
        case Sides():
            return f"{model.shape.fallback}x{model.shape.fallback}"
        case Free() | Unshaped():
            return None


def _facts(pictures: list[Picture]) -> bytes:
    """`output_format` and `size` of the answer, where the bytes are known and all pictures agree."""
    told = b""
    for name, values in (
        (b"output_format", {output_format(picture) for picture in pictures}),
        (b"size", {size_word(picture) for picture in pictures}),
    ):
        value = values.pop()
        if value is not None and not values:
            told += b',"%b":"%b"' % (name, value.encode())
    return told


def _opening(index: int, picture: Picture, origin: str, *, both: bool) -> bytes:
    comma = b"," if index else b""
    url = b'"url":%b,' % _url(picture, origin) if both else b""
    return comma + b"{" + url + b'"b64_json":"'


async def _pieces(head: bytes, parts: list[tuple[bytes, Picture]], tail: bytes) -> AsyncIterator[bytes]:
    yield head
    for opening, picture in parts:
        yield opening
        async for piece in encoded(picture):
            yield piece
        yield _CLOSING
    yield tail


def _url(picture: Picture, origin: str) -> bytes:
    return orjson.dumps(located(picture.url, origin))


def hit_status(pictures: list[Picture]) -> bytes:
    """RFC 9211's `Cache-Status` of pictures that are all hits."""
    return b"gateway; hit; ttl=%d" % min([picture.ttl for picture in pictures])


def _cache_headers(pictures: list[Picture]) -> Headers:
    """`Cache-Status` and our own word, of the least lucky picture."""
    least = max([picture.cache for picture in pictures])
    status = hit_status(pictures) if least is HIT else _FORWARDED[least]
    if least >= MISS and all(picture.stored for picture in pictures if picture.cache >= MISS):
        status += b"; stored"
    return [(b"cache-status", status), _CACHE_WORDS[least]]
