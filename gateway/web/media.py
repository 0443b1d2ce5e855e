"""`/v1/media/{name}`: the kept pictures, for whoever knows their names; HTTP's conditions and ranges.

No key is asked for: a name is 128 random bits, and a page that shows a picture has no key to send.
"""

import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.types import Receive, Scope

from gateway.core.errors import GatewayError, Kind
from gateway.ports import MediaInfo, MediaStore, MediaUnavailableError
from gateway.web.render import Headers, Reply, error_reply
from gateway.web.scope import HEADERS, begin

# What is read from the store at a time, and what is handed to the server at a time: a slow reader holds one of each.
_BLOCK: Final = 256 * 1024
_PIECE: Final = 64 * 1024
_RANGE: Final = re.compile(rb"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)
_DIGITS: Final = 18
_ALWAYS: Final[Headers] = [
    (b"accept-ranges", b"bytes"),
    (b"access-control-allow-origin", b"*"),
    (b"content-security-policy", b"default-src 'none'"),
]
# A name's bytes never change.
_LASTING: Final = (b"cache-control", b"public, max-age=31536000, immutable")
_SHOWN: Final = (b"content-disposition", b"inline")


@dataclass(frozen=True, slots=True)
class Choice:
    """What a request gets: a status, and the bytes [start, end)."""

    status: HTTPStatus
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class MediaEndpoint:
    """Serves the media store."""

    media: MediaStore

    async def serve(self, scope: Scope, _receive: Receive) -> Reply:
        """`GET` and `HEAD /v1/media/{name}`."""
        outcome = begin(scope, "media")
        name, head = scope["path_params"]["name"], scope["method"] == "HEAD"
        try:
            info = await self.media.find(name)
            if info is None:
                message = "There is no such picture: it was never kept here, or it is so old that it was deleted."
                raise GatewayError(Kind.UNKNOWN_URL, message)
            choice = choose(info, scope[HEADERS], head=head)
            if choice.status is HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                outcome.code = Kind.INVALID_VALUE.row.code
            if head or choice.start == choice.end:
                return media_reply(info, choice, ())
            # The first block is waited for here: while no header has left, a failure can still be told.
            first = await self.media.read(name, choice.start, min(choice.end, choice.start + _BLOCK))
        except MediaUnavailableError:
            message = "The picture cannot be read from the media store now; ask again."
            raise GatewayError(Kind.IMAGE_UNAVAILABLE, message) from None
        return media_reply(info, choice, _pieces(self.media, name, choice, first))


def choose(info: MediaInfo, headers: Mapping[bytes, bytes], *, head: bool = False) -> Choice:
    """Settle conditions and range, in the order of RFC 9110, 13.2.2."""
    if _unchanged(info, headers):
        return Choice(HTTPStatus.NOT_MODIFIED)
    span = None
    if not head and b"range" in headers and headers.get(b"if-range") in {None, _etag(info), _modified(info)}:
        span = _span(headers[b"range"], info.size)
    if span is None:
        return Choice(HTTPStatus.OK, 0, info.size)
    start, end = span
    if start >= end:
        return Choice(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
    return Choice(HTTPStatus.PARTIAL_CONTENT, start, end)


def media_reply(info: MediaInfo, choice: Choice, pieces: Iterable[bytes] | AsyncIterable[bytes]) -> Reply:
    """The answer, with the headers that a picture of ours always carries."""
    lasting = [*_ALWAYS, _LASTING, (b"etag", _etag(info)), (b"last-modified", _modified(info))]
    match choice.status:
        case HTTPStatus.NOT_MODIFIED:
            # Its length would have to be the picture's, and servers check it against the body that is not there.
            return Reply(choice.status, lasting, None, ())
        case HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            message = f"The range lies outside of the picture, which has {info.size} bytes."
            reply = error_reply(GatewayError(Kind.INVALID_VALUE, message, param="range"))
            headers = [*reply.headers, *_ALWAYS, (b"content-range", b"bytes */%d" % info.size)]
            return msgspec.structs.replace(reply, status=choice.status, headers=headers)
        case _:
            headers = [(b"content-type", info.media_type.encode()), _SHOWN, *lasting]
            if choice.status is HTTPStatus.PARTIAL_CONTENT:
                content_range = b"bytes %d-%d/%d" % (choice.start, choice.end - 1, info.size)
                headers.append((b"content-range", content_range))
            return Reply(choice.status, headers, choice.end - choice.start, pieces)


def _unchanged(info: MediaInfo, headers: Mapping[bytes, bytes]) -> bool:
    if (tags := headers.get(b"if-none-match")) is not None:
        known = {tag.strip().removeprefix(b"W/") for tag in tags.split(b",")}
        return not known.isdisjoint({_etag(info), b"*"})
    if (date := headers.get(b"if-modified-since")) is not None:
        try:
            since = datetime.strptime(date.decode("latin-1").replace("GMT", "+0000"), "%a, %d %b %Y %H:%M:%S %z")
        except ValueError:
            return False
        return int(info.modified) <= since.timestamp()
    return False


def _span(range_: bytes, size: int) -> tuple[int, int] | None:
    """The bytes [start, end) of one range, empty where there are none; None for what is served whole.

    Served whole is what RFC 9110 lets a server ignore: other units, what is malformed, and several ranges at once.
    """
    parts = _RANGE.fullmatch(range_)
    if parts is None or not any(parts.groups()):
        return None
    first, last = parts.groups()
    if not first:
        return max(0, size - _number(last)), size
    start = _number(first)
    if not last:
        return start, size
    end = _number(last) + 1
    return None if end <= start else (start, min(end, size))


def _number(digits: bytes) -> int:
    # No picture has so many bytes that the digits cut off here would tell.
    return int(digits.lstrip(b"0")[:_DIGITS] or b"0")


def _etag(info: MediaInfo) -> bytes:
    return b'"%b"' % info.etag.encode()


def _modified(info: MediaInfo) -> bytes:
    return formatdate(info.modified, usegmt=True).encode()


async def _pieces(media: MediaStore, name: str, choice: Choice, block: bytes) -> AsyncIterator[bytes]:
    """The body, read from the store as the client takes it.

    A block is read by its place: between two blocks nothing is held open, however slowly the client reads.
    """
    start = choice.start
    while block:
        for place in range(0, len(block), _PIECE):
            yield block[place : place + _PIECE]
        start += len(block)
        block = await media.read(name, start, min(choice.end, start + _BLOCK)) if start < choice.end else b""
