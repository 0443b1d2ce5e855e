"""One request to 302 and its answer, unread. Which key asks, and what an answer means, is decided elsewhere.

Nothing is sent twice here, and no exception but `GatewayError` comes out, which tells whether anything had left.
"""

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Final

import httpx
import msgspec

from gateway.adapters.upstream.messages import Prepared, RawHeaders, Template, WholeStream, raw_headers
from gateway.core.errors import GatewayError, Kind
from gateway.core.reply import Reply

# 302 answers with a URL and the vendor's raw answer: a megabyte is beyond all that was ever seen.
_LARGEST_ANSWER: Final = 4 * 1024 * 1024
# So many templates are kept, each for a method, a path, a key and a length. Longer bodies, such as those with pictures,
# seldom have a length that was there before, and each task has a path of its own to GET.
_MOST_TEMPLATES: Final = 1024
_LONGEST_COMMON: Final = 4096
_UNREACHABLE: Final = "302.AI cannot be reached; nothing was sent."
_BROKEN: Final = "The connection to 302.AI broke after the request was sent; it may have been billed."

Hook = Callable[[str], Awaitable[None]]


class Call(msgspec.Struct, frozen=True, gc=False):
    """A request to 302: `path` is absolute and may have a query, a body is JSON.

    The whole answer has to be there within `timeout` seconds; None is for ever.
    """

    method: str
    path: str
    secret: str
    body: bytes | None = None
    timeout: float | None = None

    def __repr__(self) -> str:
        return f"Call({self.method} {self.path})"


class Wire:
    """Speaks HTTP with one 302 host.

    What crosses httpx's seam can be looked at as httpx's own. A request by a template, with its bytes, costs 1 us; made
    by httpx from its parts it would be more than 20.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, url: str, connect_timeout: float = 10.0) -> None:
        self._transport: Final = transport
        self._base: Final = url.rstrip("/")
        self._host: Final = httpx.URL(url).netloc.decode("ascii")
        self._connect_timeout: Final = connect_timeout
        self._templates: Final = lru_cache(_MOST_TEMPLATES)(self._template)

    async def exchange(self, call: Call, on_head: Hook | None = None) -> Reply:
        """Send a request and read its answer.

        `on_head` is told 302's id of the call before the rest of the answer is waited for; not where all has come.

        Raises:
            GatewayError: `upstream_unreachable`, nothing was sent; `upstream_unknown`, the answer broke off.
        """
        request_id = ""
        try:
            response = await self._transport.handle_async_request(self._request(call))
            stream = response.stream
            if not isinstance(stream, httpx.AsyncByteStream):
                raise TypeError
            try:
                headers = raw_headers(response)
                request_id = _value(headers, b"request-id") or ""
                # No longer than a transport reads ahead, which is far below the largest answer.
                data = stream.at_once() if isinstance(stream, WholeStream) else None
                if data is None:
                    if on_head is not None:
                        await on_head(request_id)
                    data = await _read(stream)
            finally:
                await stream.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
            raise GatewayError(Kind.UPSTREAM_UNREACHABLE, _UNREACHABLE) from exc
        except httpx.TransportError as exc:
            error = GatewayError(Kind.UPSTREAM_UNKNOWN, _BROKEN)
            error.upstream_request_id = request_id
            raise error from exc
        return Reply(response.status_code, data, _value(headers, b"retry-after"), request_id)

    def _request(self, call: Call) -> httpx.Request:
        length = None if call.body is None else len(call.body)
        is_common = call.method == "POST" and (length or 0) <= _LONGEST_COMMON
        template = (self._templates if is_common else self._template)(call.method, call.path, call.secret, length)
        timeout = {"connect": self._connect_timeout, "read": call.timeout}
        return Prepared(template, call.body or b"", {"timeout": timeout})

    def _template(self, method: str, path: str, secret: str, length: int | None) -> Template:
        """Requests whose bodies have `length` bytes; None where they have no body."""
        fields = [
            ("host", self._host),
            ("authorization", f"Bearer {secret}"),
            ("content-type", "application/json"),
            ("accept", "application/json"),
            ("accept-encoding", "identity"),
            ("user-agent", "gateway302"),
        ]
        headers = httpx.Headers(fields if length is None else [*fields, ("content-length", str(length))])
        return Template(method, httpx.URL(self._base + path), headers)


async def _read(stream: httpx.AsyncByteStream) -> bytes:
    # Not `aiter_raw`, whose bookkeeping of closing costs more than reading these few hundred bytes.
    chunks, size = [], 0
    async for chunk in stream:
        size += len(chunk)
        if size > _LARGEST_ANSWER:
            return b""  # an answer without a picture: nobody knows whether it was billed
        chunks.append(chunk)
    return b"".join(chunks)


def _value(headers: RawHeaders, wanted: bytes) -> str | None:
    for name, value in headers:
        if name.lower() == wanted:
            return value.decode("latin-1")
    return None
