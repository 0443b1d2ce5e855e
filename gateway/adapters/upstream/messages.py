"""httpx messages that whoever only carries them on need not pay for.

A request or an answer of httpx looks through its headers and copies them when it is made, and keeps account of a body.
These become whole, as httpx would have made them, when somebody looks at a part of them or sets one; a call that nobody
looks into costs 5 us less for it. Our own transport reads only `extensions` and `written` of a request, and `Wire` only
`status_code`, `stream` and `raw_headers` of an answer.
"""

from abc import ABC, abstractmethod
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


class _WholeWhenAsked:
    """What both kinds have in common, before the class of httpx's that they are."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever httpx's has
        if vars(self).get("_parts") is None:
            raise AttributeError(name)
        self._become_whole()
        return getattr(self, name)

    def __getstate__(self) -> Any:  # noqa: ANN401 - as httpx's
        # httpx leaves bodies out of what is pickled or copied.
        self._become_whole()
        return super().__getstate__()

    def _become_whole(self) -> None:
        raise NotImplementedError


class Prepared(_WholeWhenAsked, httpx.Request):
    """A request by a template. `extensions` are httpx's."""

    def __init__(self, template: Template, body: bytes, extensions: dict[str, Any]) -> None:
        # httpx's own is not called: what it would have made is made when it is asked for.
        self.extensions = extensions
        self._parts: tuple[Template, bytes] | None = template, body

    @property
    def written(self) -> tuple[Origin, bytes] | None:
        """Where it goes, and its bytes; None where somebody has looked at a part of it, and may have changed that."""
        if self._parts is None or vars(self).keys() != _UNTOUCHED:
            return None
        template, body = self._parts
        return template.origin, template.head + body

    def _become_whole(self) -> None:
        if self._parts is None:
            return
        (of, body), self._parts = self._parts, None
        stream = httpx.ByteStream(body)
        _complete(self, httpx.Request(of.method, of.url, headers=of.headers, stream=stream, extensions=self.extensions))


# All that `Prepared.__init__` sets.
_UNTOUCHED: Final = {"extensions", "_parts"}


class WholeStream(httpx.AsyncByteStream, ABC):
    """A body that may be there at once."""

    @abstractmethod
    def at_once(self) -> bytes | None:
        """What is left of it, where nothing has to be waited for; None else."""


class Answered(_WholeWhenAsked, httpx.Response):
    """An answer of which status, stream and the headers as they came are there, until somebody asks for more."""

    def __init__(
        self, status_code: int, raw: RawHeaders, stream: httpx.AsyncByteStream, request: httpx.Request
    ) -> None:
        # As with `Prepared`.
        self.status_code = status_code
        self.stream = stream
        self._parts: tuple[RawHeaders, httpx.Request] | None = raw, request

    @property
    def raw(self) -> RawHeaders:
        """Its headers, as they came or as somebody has changed them."""
        return self.headers.raw if self._parts is None or "headers" in vars(self) else self._parts[0]

    def _become_whole(self) -> None:
        if self._parts is None:
            return
        (raw, request), self._parts = self._parts, None
        _complete(self, httpx.Response(self.status_code, headers=raw, stream=self.stream, request=request))


def raw_headers(response: httpx.Response) -> RawHeaders:
    """An answer's headers."""
    return response.raw if isinstance(response, Answered) else response.headers.raw


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
