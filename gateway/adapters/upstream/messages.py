"""httpx messages that whoever only carries them on need not pay for.

A request or an answer of httpx looks through its headers and copies them when it is made, and keeps account of a body.
These become whole, as httpx would have made them, when somebody looks at a part of them or sets one; a call that nobody
looks into costs 5 us less for it. Our own transport reads only `extensions` and `written` of a request, and `Wire` only
`status_code`, `stream` and `raw_headers` of an answer.
"""

from abc import abstractmethod
from typing import Any, Final, NamedTuple

import httpx

RawHeaders = list[tuple[bytes, bytes]]


class Origin(NamedTuple):
    """A server: `port` is None where it is the scheme's own."""

    scheme: str
    host: str
    port: int | None


class Template:
    """What requests whose bodies have the same length have in common, worked out once."""

    def __init__(self, method: str, url: httpx.URL, headers: httpx.Headers) -> None:
        self.method: Final = method
        self.url: Final = url
        self.headers: Final = headers
        self.origin: Final = origin_of(url)
        self.head: Final = head_of(method, url, headers)


class Prepared(httpx.Request):
    """A request by a template. `extensions` are httpx's."""

    def __init__(self, template: Template, body: bytes, extensions: dict[str, Any]) -> None:
        # httpx's own is not called: what it would have made, `__getattr__` makes when it is asked for.
        self.extensions = extensions
        self._template = template
        self._body = body
        self._is_whole = False

    @property
    def written(self) -> tuple[Origin, bytes] | None:
        """Where it goes, and its bytes; None where somebody has looked at a part of it, and may have changed that."""
        if vars(self).keys() != _UNTOUCHED:
            return None
        return self._template.origin, self._template.head + self._body

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever httpx's has
        if vars(self).get("_is_whole", True):  # True also where `__init__` was not called, as in a copy
            raise AttributeError(name)
        self._is_whole = True
        of, stream = self._template, httpx.ByteStream(self._body)
        _complete(self, httpx.Request(of.method, of.url, headers=of.headers, stream=stream, extensions=self.extensions))
        return getattr(self, name)


# All that `Prepared.__init__` sets.
_UNTOUCHED: Final = {"extensions", "_template", "_body", "_is_whole"}


class WholeStream(httpx.AsyncByteStream):
    """A body that may be there at once."""

    @abstractmethod
    def at_once(self) -> bytes | None:
        """What is left of it, where nothing has to be waited for; None else."""


class Answered(httpx.Response):
    """An answer of which status, stream and the headers as they came are there, until somebody asks for more."""

    def __init__(
        self, status_code: int, raw: RawHeaders, stream: httpx.AsyncByteStream, request: httpx.Request
    ) -> None:
        # As with `Prepared`.
        self.status_code = status_code
        self.stream = stream
        self._raw = raw
        self._asked = request
        self._is_whole = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever httpx's has
        if vars(self).get("_is_whole", True):
            raise AttributeError(name)
        self._is_whole = True
        _complete(self, httpx.Response(self.status_code, headers=self._raw, stream=self.stream, request=self._asked))
        return getattr(self, name)


def raw_headers(response: httpx.Response) -> RawHeaders:
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
