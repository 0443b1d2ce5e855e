"""httpx messages that whoever only carries them on need not pay for.

A request or an answer of httpx looks through its headers and copies them when it is made, and keeps account of a body:
of a paid call that costs more than its parsing. These become whole, as httpx would have made them, when somebody looks
at more of them than our own transport does.
"""

from abc import abstractmethod
from typing import Any, Final, NamedTuple

import httpx

Raw = list[tuple[bytes, bytes]]


class Origin(NamedTuple):
    """A server: `port` is None where it is the scheme's own."""

    scheme: str
    host: str
    port: int | None


class Template:
    """What requests that differ in nothing but their bodies have in common, worked out once.

    `headers` name the body's length too.
    """

    def __init__(self, method: str, url: httpx.URL, headers: httpx.Headers) -> None:
        self.method: Final = method
        self.url: Final = url
        self.headers: Final = headers
        self.origin: Final = origin_of(url)
        self.head: Final = head_of(method, url, headers)


class Prepared(httpx.Request):
    """A request by a template. `extensions` are httpx's."""

    def __init__(self, template: Template, body: bytes, extensions: dict[str, Any]) -> None:
        # Not httpx's own, whose parts are made when they are asked for.
        self.extensions = extensions
        self._template = template
        self._body = body

    @property
    def written(self) -> bytes | None:
        """Its bytes; None where somebody has looked at a part of it, and may have changed that."""
        return self._template.head + self._body if vars(self).keys() == _PREPARED else None

    @property
    def origin(self) -> Origin:
        """Which server the template is for."""
        return self._template.origin

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever httpx's has
        if "stream" in vars(self):
            raise AttributeError(name)
        of = self._template
        stream = httpx.ByteStream(self._body)
        _complete(self, httpx.Request(of.method, of.url, headers=of.headers, stream=stream, extensions=self.extensions))
        return getattr(self, name)


_PREPARED: Final = {"extensions", "_template", "_body"}


class WholeStream(httpx.AsyncByteStream):
    """A body that may be there at once."""

    @abstractmethod
    def at_once(self) -> bytes | None:
        """All of it, where nothing is left to be waited for; None else."""


class Answered(httpx.Response):
    """An answer."""

    def __init__(self, status_code: int, raw: Raw, stream: httpx.AsyncByteStream, request: httpx.Request) -> None:
        # As with `Prepared`.
        self.status_code = status_code
        self.stream = stream
        self._raw = raw
        self._to = request

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever httpx's has
        if "headers" in vars(self):
            raise AttributeError(name)
        _complete(self, httpx.Response(self.status_code, headers=self._raw, stream=self.stream, request=self._to))
        return getattr(self, name)


def raw_headers(response: httpx.Response) -> Raw:
    """An answer's headers as they came, or as somebody has changed them."""
    if isinstance(response, Answered) and "headers" not in vars(response):
        return response._raw  # noqa: SLF001 - of this module
    return response.headers.raw


def origin_of(url: httpx.URL) -> Origin:
    """The server that an address is at."""
    return Origin(url.scheme, url.host, url.port)


def head_of(method: str, url: httpx.URL, headers: httpx.Headers) -> bytes:
    """A request's head as it is written."""
    first = b"%b %b HTTP/1.1" % (method.encode(), url.raw_path)
    return b"\r\n".join([first, *map(b": ".join, headers.raw), b"", b""])


def _complete(lean: object, whole: object) -> None:
    """Give a message what it lacks; what somebody has set in the meantime stays."""
    for name, value in vars(whole).items():
        vars(lean).setdefault(name, value)
