"""What the pipeline asks of the world. The adapters fit these structurally; `gateway.app` is where that is checked."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec

from gateway.core.catalogue import Model
from gateway.core.entry import Entry
from gateway.core.held import Held
from gateway.core.keys import Caller
from gateway.core.ledger import Draft, Ending, Generation
from gateway.core.limits import Admission, OnAdmission
from gateway.core.outcome import Outcome
from gateway.core.repeats import Repeat


class StoreUnavailableError(Exception):
    """Redis did not answer in time, or is known to be away."""


class DatabaseUnavailableError(Exception):
    """The durable store did not commit or answer in time; what was asked of it may still happen."""


class EarlierError(Exception):
    """The ledger has a generation already that answers the request: in flight, drawn, or not to be paid again."""

    def __init__(self, row: Generation) -> None:
        super().__init__(row.id)
        self.row = row


class Drawn(msgspec.Struct, frozen=True, gc=False):
    """A picture that 302 made: its URL, and what 302 told of the call that made it.

    `request_id` is what `Upstream.bill` looks up, `upstream_key` the public id of the key that paid, `task_id` empty
    where there was no task, `micro_usd` the cost where the answer itself told it.
    """

    url: str
    request_id: str = ""
    upstream_key: str = ""
    task_id: str = ""
    micro_usd: int | None = None


class Progress(Protocol):
    """Who is told how far a paid call has come, so that it can be written down before the world goes on."""

    async def sending(self, upstream_key_id: str) -> None:
        """A key was chosen, and no byte of the POST has left; it does not leave where this raises.

        Told again before the POST of every further key, which means that the one before was refused unbilled.
        """

    async def accepted(self, upstream_key_id: str, request_id: str, task_id: str) -> None:
        """302 named a call that it has not answered yet, or its task. What this raises does not end the paid call."""


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

    def start(self, *command: str | bytes | float) -> "asyncio.Future[Any]":
        """Send a command at once, and wait for its reply later; raises `StoreUnavailableError` where none can come."""

    async def look_up(self, *keys: str) -> list[bytes | None]:
        """Read keys of one picture; as `execute`."""

    def post(self, *command: str | bytes | float) -> None:
        """Run a command that nobody waits for."""

    async def run_script(self, source: str, keys: Sequence[str], *arguments: str | bytes | float) -> object:
        """Run a Lua script on keys of one server, which need not know it yet; as `execute`."""


class Limiter(Protocol):
    """What keys and teams may use by the minute and at once. Without Redis each worker limits by itself."""

    async def admit(self, caller: Caller, request_id: str, wanted: int, lookups: Sequence[str] | None) -> Admission:
        """Let a request in, or raise `GatewayError`; all limits are taken from, or none.

        `lookups` are the names of pictures in the cache: they are read on the way, and only those that are not there
        count as images and ask for a place at once. Without them `wanted` images count.
        """

    def kept_admission(self, caller: Caller, lookups: Sequence[str]) -> Callable[[OnAdmission], None]:
        """What lets in, without a task, who needs kept pictures only; it tells None where `admit` has to be asked."""

    async def release(self, request_id: str) -> None:
        """Give the place at once back, where there is one; never raises."""

    def release_soon(self, request_id: str) -> None:
        """As `release`, without waiting until it is given back."""

    async def give_back(self, caller: Caller, request_id: str, images: int) -> None:
        """Let as many images count no longer, for they were not drawn; never raises."""


class Cache(Protocol):
    """Pictures by fingerprint. None of its methods raises: what goes wrong is a miss."""

    def name(self, fingerprint: str) -> str:
        """Under which name a picture is kept."""

    def read(self, fingerprint: str, value: bytes | None) -> Entry | None:
        """The kept picture out of what was found under its name."""

    async def recall(self, fingerprint: str) -> Entry | None:
        """The kept picture; one round trip."""

    def keep(self, fingerprint: str, url: str, ttl: int, *, replace: bool = True) -> Awaitable[bool]:
        """Begin to keep a picture for `ttl` seconds; whether that was taken in may be waited for, once."""


class Wakeups(Protocol):
    """Tells those who wait on other workers; it may lose a word, so they look for themselves now and then."""

    def tell(self, name: str) -> None:
        """Wake all who wait for a name."""

    async def wait(self, name: str, seconds: float) -> None:
        """Return when the name is told, and after `seconds` at the latest."""


class MediaUnavailableError(Exception):
    """The media store did not take or give a picture's bytes."""


class MediaInfo(msgspec.Struct, frozen=True, gc=False):
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


class Directory(Protocol):
    """The keys of the database, as this process knows them."""

    def find(self, secret: bytes) -> Caller | None:
        """Who holds a secret, without I/O. A revoked key's terms are disabled."""

    def named(self, id_: str) -> Caller | None:
        """Who holds the key of an id, without I/O; as `find`."""

    async def refresh(self) -> None:
        """Learn what has changed since the last time. Raises `DatabaseUnavailableError`."""


class Upstream(Protocol):
    """302.AI. An error of `send` and `resume` whose `outcome_unknown` is False means: surely not billed."""

    async def send(self, body: bytes, model: Model, *, known_model: bool, progress: Progress) -> Drawn:
        """Have one picture drawn; raises `GatewayError`.

        It is sent again, on another key or the same, only where 302 refused it or nothing had left.
        """

    async def resume(self, task_id: str, upstream_key_id: str, model: Model) -> Drawn:
        """Wait on for a task that was accepted before; raises `GatewayError`."""

    async def bill(self, request_id: str, upstream_key_id: str) -> int | None:
        """What a call really cost, in micro-USD; None where 302 does not know it (yet).

        Raises `GatewayError` where 302 cannot be asked.
        """


class Ledger(Protocol):
    """The durable record of what is held, sent and paid. Its methods raise `DatabaseUnavailableError`."""

    async def reserve(self, draft: Draft, upstream_key: str) -> Generation:
        """Hold the price and write that the call is being sent; raises `EarlierError` and `GatewayError`."""

    async def cancel(self, draft: Draft) -> None:
        """Let go of what was reserved and not sent, if it was reserved at all."""

    async def move(self, row: Generation, upstream_key: str) -> Generation | None:
        """Note that the call goes out on another key."""

    async def accept(self, row: Generation, request_id: str, task_id: str) -> Generation | None:
        """Note 302's ids of a call; None where the row was taken from us."""

    async def end(self, row: Generation, ending: Ending) -> bool:
        """Note how it ended, and settle its money, once."""

    async def keep(self, row: Generation, url: str) -> None:
        """Note where the picture lies now."""

    async def correct(self, row: Generation, actual: int) -> None:
        """Replace the planned cost by the billed one, in micro-USD; settle an unknown outcome by its bill."""

    async def find(self, ids: Sequence[str]) -> list[Generation]:
        """The rows of these ids."""

    async def beat(self) -> bool:
        """Renew this worker's lease on all it has in flight; whether it had not lapsed."""

    async def leave(self) -> None:
        """Give up this worker's lease."""

    async def orphans(self, *, lapsed: bool) -> list[Generation]:
        """What is in flight of workers that have left, with `lapsed` also of those whose lease is over."""

    async def adopt(self, row: Generation) -> Generation | None:
        """Make an orphan ours; None where somebody else was first."""

    async def unsettled(self, *, confirm: bool, since: float) -> list[Generation]:
        """Rows whose bill is to be asked for."""


class Repeats(Protocol):
    """What Idempotency-Keys stand for. Its methods raise `DatabaseUnavailableError`."""

    async def claim(self, key: str, name: str, digest: bytes) -> Repeat | None:
        """Take a name for a request; how it ended, where it was asked before; raises `GatewayError`."""

    async def keep(self, key: str, name: str, repeat: Repeat) -> None:
        """Note how it ended."""

    async def forget(self) -> None:
        """Remove what has lapsed."""


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

    def limited(self, team: str, limit: str) -> None:
        """A limit refused a request; `limit` is `key_requests`, `team_images` and so on."""

    def dependency_error(self, dependency: str) -> None:
        """Something we lean on failed us."""

    def fault(self, where: str, error: BaseException) -> None:
        """A fault of ours, outside of any request."""
