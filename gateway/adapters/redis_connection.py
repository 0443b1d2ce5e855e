"""One connection to one Redis server: what is written, and whose reply comes next.

Replies come in the order of the commands, so each is taken off for its command, whether or not somebody still waits
for it. One timer a connection watches the oldest command without a reply; when that is late the connection is given up
with everything on it, for a reply that came after all would be taken for the next one's. Nothing is ever sent twice:
what has no reply may have run.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, cast

import hiredis
from redis.asyncio.connection import parse_url
from redis.exceptions import NoScriptError, ResponseError

from gateway.flights import Deadline
from gateway.ports import StoreUnavailableError

# As many scripts of 50 µs as a server answers well within their deadline.
_MOST_ON_THE_WAY: Final = 1000
# In seconds. A turn of the loop that took long finds both the timer and the replies: they are read first.
_GRACE: Final = 0.005
_NOTHING: Final = object()
_PLAIN: Final = frozenset({"host", "port", "path", "db", "username", "password"})

Command = tuple[str | bytes | float, ...]
packed: Final[Callable[[Command], bytes]] = hiredis.pack_command  # type: ignore[assignment]  # its stub has one word
"""A command as it is written."""


class PackedCommand(NamedTuple):
    """A command that is sent again and again, with its bytes."""

    command: Command
    data: bytes


class Waiter(Protocol):
    """Who is told a command's reply: a future, or what does as much of one."""

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop of whoever waits."""

    def done(self) -> bool:
        """Whether the reply is of no use any more."""

    def set_result(self, reply: Any, /) -> None:  # noqa: ANN401 - what a reply is depends on its command
        """Take the reply."""

    def set_exception(self, error: Exception, /) -> None:
        """Hear that there is none, or that the server does not know the script."""


def _nothing(*_: object) -> None:
    return None


class Told:
    """Tells a reply, or None where there is none, in the very turn of the loop in which it came.

    Cheaper than a future, whose failure somebody would have to hear; so it also takes a reply that nobody waits for.
    `on_unknown` is told that the server does not know the script.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tell: Callable[[Any], None] = _nothing,
        on_unknown: Callable[[], None] = _nothing,
    ) -> None:
        self._loop: Final = loop
        self._tell: Final = tell
        self._on_unknown: Final = on_unknown

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop of whoever sent the command."""
        return self._loop

    def done(self) -> bool:
        """Never: the reply is always told."""
        return False

    def set_result(self, reply: object, /) -> None:
        """Tell it. What goes wrong with that goes where it goes for a future."""
        try:
            self._tell(reply)
        except Exception as error:  # noqa: BLE001 - the connection must outlive whoever is told
            self._loop.call_exception_handler({"message": "A reply was told in vain.", "exception": error})

    def set_exception(self, error: Exception, /) -> None:
        """Tell that there is none; what went wrong is counted by the store."""
        if isinstance(error, NoScriptError):
            self._on_unknown()
        self.set_result(None)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and who we are to it; with a `path`, it is a unix socket."""

    host: str = "localhost"
    port: int = 6379
    path: str | None = None
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str) -> "Address | None":
        """Read `redis://` and `unix://`; None for any other URL, and for one that asks for more than an address."""
        if not url.startswith(("redis://", "unix://")):
            return None
        options: dict[str, Any] = {name: value for name, value in parse_url(url).items() if name != "connection_class"}
        return cls(**options) if options.keys() <= _PLAIN else None

    def greeting(self) -> list[Command]:
        """What a new connection begins with; every reply has to be a good one."""
        commands: list[Command] = []
        if self.password is not None:
            commands.append(("AUTH", *filter(None, [self.username]), self.password))
        if self.db:
            commands.append(("SELECT", self.db))
        return [*commands, ("PING",)]


class Connection(asyncio.Protocol):
    """A connection, as long as it lives."""

    def __init__(self, timeout: float) -> None:
        """`timeout` is how many seconds a reply may take."""
        self.on_refusal: Callable[[], None] = _nothing
        """Called when the server refuses a command."""
        self.on_room: Callable[[], None] = _nothing
        """Called when replies have come, so that more can be sent."""
        self.on_end: Callable[[bool], None] = _nothing
        """Called when it ends, and told whether commands are left without reply."""
        self._timeout: Final = timeout
        self._loop: Final = asyncio.get_running_loop()
        self._reader: Final = hiredis.Reader(replyError=_error_of, notEnoughData=_NOTHING)
        self._sent: Final[deque[tuple[Waiter, float]]] = deque()
        self._transport: asyncio.WriteTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_late = False

    @property
    def room(self) -> int:
        """How many more commands may be on their way."""
        return _MOST_ON_THE_WAY - len(self._sent)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._transport is None

    def send(self, commands: Sequence[tuple[bytes, Waiter]]) -> None:
        """Write packed commands together; where the connection has ended meanwhile, refuse them."""
        if self._transport is None:
            refuse([waiter for _, waiter in commands])
            return
        now, pieces = self._loop.time(), []
        for data, waiter in commands:
            pieces.append(data)
            self._sent.append((waiter, now))
        self._transport.write(b"".join(pieces))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._check)

    def close(self) -> None:
        """End it at once; whoever waits is told that there will be no reply."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        self._timer = self._transport = None
        left = [waiter for waiter, _ in self._sent]
        self._sent.clear()
        on_end, self.on_end = self.on_end, _nothing
        on_end(bool(left))
        refuse(left)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of what to write to."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is one without saying so

    def data_received(self, data: bytes) -> None:
        """Hand out the replies that are whole."""
        reader, sent = self._reader, self._sent
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not _NOTHING:
                waiter, _ = sent.popleft()
                if waiter.done():
                    continue
                if isinstance(reply, Exception):
                    self._fail(waiter, reply)
                else:
                    waiter.set_result(reply)
        except (hiredis.ProtocolError, IndexError):  # it is no Redis, or says what nobody asked
            self.close()
            return
        self.on_room()

    def connection_lost(self, _error: Exception | None) -> None:
        """The server has closed it, or the network has."""
        self.close()

    def _fail(self, waiter: Waiter, error: Exception) -> None:
        if isinstance(error, NoScriptError):
            waiter.set_exception(error)
        else:
            self.on_refusal()
            waiter.set_exception(StoreUnavailableError())

    def _check(self) -> None:
        self._timer = None
        if not self._sent:
            self._is_late = False
            return
        left = self._sent[0][1] + self._timeout - self._loop.time()
        if left <= 0 and self._is_late:
            self.close()
            return
        self._is_late = left <= 0
        self._timer = self._loop.call_later(max(left, _GRACE), self._check)


async def connect_to(address: Address, within: float) -> Connection:
    """Open a connection, and greet, `within` so many seconds; so long a reply may take from then on.

    Raises:
        StoreUnavailableError: nobody is there, answers, or lets us in.
    """
    loop = asyncio.get_running_loop()
    connection = Connection(within)
    try:
        with Deadline(within):
            if address.path is None:
                await loop.create_connection(lambda: connection, address.host, address.port)
            else:
                await loop.create_unix_connection(lambda: connection, address.path)
            replies: list[asyncio.Future[Any]] = [loop.create_future() for _ in address.greeting()]
            connection.send([*zip(map(packed, address.greeting()), replies, strict=True)])
            await asyncio.gather(*replies)
    except BaseException as error:
        connection.close()
        if isinstance(error, OSError | TimeoutError):
            raise StoreUnavailableError from error
        raise
    return connection


def refuse(waiters: Sequence[Waiter]) -> None:
    """Tell those who still wait that there will be no reply."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(StoreUnavailableError())


def _error_of(text: str) -> Exception:
    return NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)
