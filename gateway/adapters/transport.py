"""httpx's transport seam on aiohttp's connection pool, for pictures and webhooks; 302's API has one of its own.

httpx's own pool walks all connections for each request, which is quadratic when a thousand calls are in flight;
aiohttp's does not. The published httpx-aiohttp maps a connection lost after sending to a connect error, which says
"nothing was sent" where nobody knows, so the mapping here is our own.
"""

from collections.abc import AsyncIterator, Callable
from functools import lru_cache
from types import TracebackType
from typing import Final

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver
from yarl import URL

# In bytes: pictures come in longer pieces than answers, and every piece on its way to a file is a turn of a thread.
_READ_BUFFER: Final = 128 * 1024
_IDLE: Final = 15.0

# Most specific first: a ClientConnectorError is also a ClientOSError.
_MAPPED: Final[tuple[tuple[type[Exception], type[httpx.TransportError]], ...]] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (aiohttp.SocketTimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.InvalidURL, httpx.UnsupportedProtocol),
    (aiohttp.NonHttpUrlClientError, httpx.UnsupportedProtocol),
    (aiohttp.ClientPayloadError, httpx.ReadError),
    (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError),
    (aiohttp.ClientOSError, httpx.ReadError),
    (aiohttp.ClientError, httpx.RemoteProtocolError),
    (OSError, httpx.ReadError),
)


class _Mapping:
    """Turn aiohttp's exceptions into httpx's; nothing of aiohttp leaves this module."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        for theirs, ours in _MAPPED:
            if isinstance(error, theirs):
                raise ours(type(error).__name__) from error


_MAPPING: Final = _Mapping()


@lru_cache(maxsize=64)
def _url(text: str) -> URL:
    return URL(text, encoded=True)


class _Stream(httpx.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _MAPPING:
            async for chunk in self._response.content.iter_any():
                yield chunk

    async def aclose(self) -> None:
        # A body that was not read to its end takes its connection with it.
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends prepared httpx requests through an aiohttp session, which it opens at the first one and owns."""

    def __init__(self, connector: Callable[[], aiohttp.BaseConnector]) -> None:
        self._connector = connector
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, once: no redirect, no retry, no cookie, no decompression.

        `request.extensions["timeout"]` may hold `connect` and `read`, in seconds.

        Raises:
            httpx.ConnectError, httpx.ConnectTimeout: nothing was sent.
            httpx.TransportError: any other; the request may have arrived.
        """
        timeout = request.extensions.get("timeout", {})
        with _MAPPING:
            response = await self._open().request(
                request.method,
                _url(str(request.url)),
                headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw],
                data=await request.aread() or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=timeout.get("connect"), sock_read=timeout.get("read")
                ),
            )
        return httpx.Response(
            response.status, headers=list(response.raw_headers), stream=_Stream(response), request=request
        )

    async def aclose(self) -> None:
        """Close the session and all its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._connector(),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                read_bufsize=_READ_BUFFER,
                skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept", "Content-Type"),
            )
        return self._session


def pooled(resolver: Callable[[], AbstractResolver] | None = None) -> AiohttpTransport:
    """A transport that keeps connections: as many as there are calls (the callers bound those), idle ones for 15 s."""

    def connector() -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE, resolver=resolver() if resolver else None)

    return AiohttpTransport(connector)
