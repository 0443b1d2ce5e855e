"""What the pipeline asks of the world. The adapters fit these structurally; `gateway.app` is where that is checked."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from gateway.core.catalogue import Model
from gateway.core.entry import Entry
from gateway.core.errors import GatewayError
from gateway.core.held import Held
from gateway.core.keys import Caller
from gateway.core.outcome import Outcome


class StoreUnavailableError(Exception):
    """Redis did not answer in time, or is known to be away."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture that 302 made: its URL, and 302's id of the call where it told one."""

    url: str
    request_id: str = ""


class Clock(Protocol):
    """The time, so that tests own it."""

    def now(self) -> float:
        """Seconds of wall clock since 1970."""

    def monotonic(self) -> float:
        """Seconds that never go back."""


class Store(Protocol):
    """Redis, one command at a time."""

    async def execute(self, *command: str | bytes | float) -> object:
        """Run a command; raises `StoreUnavailableError`, and never waits longer than its deadline."""

    async def look_up(self, *keys: str) -> list[bytes | None]:
        """Read keys that belong to one picture; as `execute`."""


class Cache(Protocol):
    """Pictures by fingerprint. None of its methods raises: what goes wrong is a miss."""

    async def recall(self, fingerprint: str, caller: Caller) -> Entry | GatewayError | None:
        """The kept picture, the unknown outcome this key must be told again, or None; one round trip."""

    async def keep(self, fingerprint: str, url: str, ttl: int) -> bool:
        """Keep a picture for `ttl` seconds; whether it was stored."""

    async def hold(self, fingerprint: str, caller: Caller, error: GatewayError) -> None:
        """Remember an unknown outcome for this key."""


class MediaUnavailableError(Exception):
    """The media store did not take or give a picture's bytes."""


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What is kept under a name: bytes, media type, entity tag without quotes, seconds since 1970."""

    size: int
    media_type: str
    etag: str
    modified: float


class MediaStore(Protocol):
    """Bytes of pictures, under names that nobody can guess."""

    async def keep(self, data: bytes, media_type: str) -> str:
        """Store a picture; its name, `<32 hex>.<ext>`. Raises `MediaUnavailableError`."""

    async def find(self, name: str) -> MediaInfo | None:
        """What is kept under a name; None where there is nothing, or the name is none of ours.

        Raises `MediaUnavailableError`.
        """

    async def read(self, name: str, start: int, end: int) -> bytes:
        """The bytes [start, end). Raises `MediaUnavailableError`."""

    async def hold(self, name: str) -> Held:
        """A picture to be read piece by piece. Raises `MediaUnavailableError`, also where there is none."""


class Upstream(Protocol):
    """302.AI."""

    async def send(self, body: bytes, model: Model, *, known_model: bool) -> Drawn:
        """Have one picture drawn; raises `GatewayError`. It is never sent a second time."""


class Downloader(Protocol):
    """The guarded fetcher of image bytes."""

    async def fetch(self, url: str, deadline: float) -> Held:
        """Fetch a picture whole before the deadline (monotonic seconds); raises `GatewayError`.

        The caller closes what it gets.
        """


class Shelf(Protocol):
    """Where the bytes of pictures wait for their readers."""

    async def hold(self, chunks: AsyncIterator[bytes], size: int | None) -> Held:
        """Take all chunks in, `size` bytes as far as is known; raises OSError, or what the chunks raise."""


class Observer(Protocol):
    """Metrics and log; nothing it does may fail a request."""

    def request(self, outcome: Outcome) -> None:
        """A request is over."""

    def upstream(self, model: str, code: str, seconds: float) -> None:
        """A call to 302 is over."""

    def paid(self, caller: Caller, model: str, micro_usd: int) -> None:
        """A call was paid for by this caller."""

    def flights(self, change: int) -> None:
        """A flight began (+1) or landed (-1)."""

    def dependency_error(self, dependency: str) -> None:
        """Something we lean on failed us."""

    def fault(self, where: str, error: BaseException) -> None:
        """A fault of ours, outside of any request."""
