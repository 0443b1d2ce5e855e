"""The only writer of bodies and of the headers that explain them.

Pictures leave in pieces: base64 of a picture is made while the client takes it, never as a whole.
"""

from collections.abc import Iterable
from math import ceil
from typing import Any, Final

import msgspec
import orjson
import pybase64

from gateway.core.catalogue import MICRO, Catalogue, Model
from gateway.core.errors import GatewayError, Kind
from gateway.core.outcome import WORDS, CacheState
from gateway.core.shapes import Free, Ratios, Sides, Sizes, Unshaped
from gateway.pipeline import Answer, Picture

Headers = list[tuple[bytes, bytes]]

JSON: Final = (b"content-type", b"application/json")
# A multiple of three bytes, so that the pieces of base64 join without padding.
_PIECE: Final = 3 * 16 * 1024
# OpenAI counts tokens for its own models; 302 tells none, and clients crash where the object is missing.
_USAGE: Final = b',"usage":' + orjson.dumps(
    {
        "total_tokens": 0,
        "input_tokens": 0,
        "output_tokens": 0,
        "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
    }
)
# When the catalogue's source page was read; OpenAI's clients want a date of each model.
_CREATED: Final = 1_745_000_000


class Reply(msgspec.Struct, frozen=True, gc=False):
    """An answer: its head, and its body in pieces whose total length is known."""

    status: int
    headers: Headers
    length: int
    pieces: Iterable[bytes]


def json_reply(value: object, status: int = 200, headers: Headers | None = None) -> Reply:
    """A small JSON body."""
    body = orjson.dumps(value)
    return Reply(status, [JSON, *(headers or [])], len(body), (body,))


def error_reply(error: GatewayError) -> Reply:
    """OpenAI's error object, and whether to try again."""
    row = error.kind.row
    body = {"error": {"message": error.message, "type": row.type, "param": error.param, "code": row.code}}
    headers: Headers = [(b"x-should-retry", b"true" if row.retry else b"false")]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, ceil(error.retry_after))))
        headers.append((b"retry-after-ms", b"%d" % ceil(error.retry_after * 1000)))
    if error.kind is Kind.INVALID_API_KEY:
        headers.append((b"www-authenticate", b"Bearer"))
    return json_reply(body, row.status, headers)


def images_reply(answer: Answer) -> Reply:
    """OpenAI's ImagesResponse."""
    headers = [JSON, *_cache_headers(answer.pictures)]
    if answer.adjustments:
        headers.append((b"x-gateway-adjusted", ", ".join(map(str, answer.adjustments)).encode()))
    tail = b"]" + (_USAGE if answer.usage else b"") + b"}"
    head = b'{"created":%d,"data":[' % answer.created
    if answer.format == "url":
        urls = [b'{"url":%b}' % orjson.dumps(picture.url) for picture in answer.pictures]
        body = head + b",".join(urls) + tail
        return Reply(200, headers, len(body), (body,))
    both = answer.format == "both"
    parts = [_frame(picture, both=both, first=index == 0) for index, picture in enumerate(answer.pictures)]
    length = len(head) + len(tail)
    for before, data in parts:
        length += len(before) + 4 * ((len(data) + 2) // 3) + 2
    return Reply(200, headers, length, _pieces(head, parts, tail))


def models_reply(catalogue: Catalogue) -> Reply:
    """The list of models."""
    return json_reply({"object": "list", "data": [model_object(model) for model in catalogue.models.values()]})


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


def _frame(picture: Picture, *, both: bool, first: bool) -> tuple[bytes, bytes]:
    comma = b"" if first else b","
    url = b'"url":%b,' % orjson.dumps(picture.url) if both else b""
    return comma + b"{" + url + b'"b64_json":"', picture.data or b""


def _pieces(head: bytes, parts: list[tuple[bytes, bytes]], tail: bytes) -> Iterable[bytes]:
    yield head
    for before, data in parts:
        yield before
        view = memoryview(data)
        for start in range(0, len(data), _PIECE):
            yield pybase64.b64encode(view[start : start + _PIECE])
        yield b'"}'
    yield tail


def _cache_headers(pictures: list[Picture]) -> Headers:
    """RFC 9211's `Cache-Status` and our own word, of the least lucky picture."""
    least = max([picture.cache for picture in pictures])
    match least:
        case CacheState.HIT:
            status = b"gateway; hit; ttl=%d" % min([picture.ttl for picture in pictures])
        case CacheState.JOINED:
            status = b"gateway; fwd=miss; collapsed"
        case CacheState.MISS:
            status = b"gateway; fwd=miss"
        case CacheState.BYPASS:
            status = b"gateway; fwd=request"
    if least >= CacheState.MISS and all(picture.stored for picture in pictures if picture.cache >= CacheState.MISS):
        status += b"; stored"
    return [(b"cache-status", status), _CACHE_WORDS[least]]


_CACHE_WORDS: Final = tuple((b"x-gateway-cache", word.encode()) for word in WORDS)
