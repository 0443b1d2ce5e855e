"""Redis or Valkey: bounded in time, and given up on quickly.

Commands for one server go straight to it; those for anything else go through redis-py, which also hears channels.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any, Final, Protocol

from redis.asyncio import RedisCluster
from redis.asyncio.client import PubSub
from redis.exceptions import NoScriptError

from gateway.adapters.redis_client import Pipelines, connect
from gateway.adapters.redis_connection import Address, Command, PackedCommand, Told, Waiter, packed
from gateway.adapters.redis_link import Link
from gateway.flights import Deadline
from gateway.ports import StoreUnavailableError

TIMEOUT: Final = 0.1
"""How many seconds Redis may take to answer."""
# How many seconds one wait for a word may take; a broken connection is noticed by then.
_LISTEN: Final = 5.0
# On it nobody says anything: a connection without a channel does not listen.
_SILENT: Final = "gw:silent"
# Seconds between one probe and the next; the last ones are all that long.
_PROBE_EVERY: Final = (0.1, 0.25, 0.5, 1.0)

Pending = asyncio.Future[Any]


class _Carrier(Protocol):
    """How commands reach Redis; what its methods promise stands with `Link`."""

    def send(self, command: Command | PackedCommand, waiter: Waiter) -> None: ...
    def send_lazily(self, command: Command, waiter: Waiter) -> None: ...
    def look_up(self, keys: tuple[str, ...], waiter: Waiter) -> None: ...
    async def ping(self) -> None: ...
    async def aclose(self) -> None: ...


class RedisStore:
    """Runs commands, or says at once that it cannot.

    After one failure nobody waits for Redis until a background probe got an answer from it.
    """

    def __init__(self, url: str, on_error: Callable[[], None], timeout: float = TIMEOUT) -> None:
        """Make a store of `redis://`, `rediss://`, `unix://`, `redis+sentinel://` or `redis+cluster://`.

        Nothing is sent yet. `timeout` is in seconds.

        Raises:
            ValueError: for any other URL, without repeating its password.
        """
        self._client: Final = connect(url)
        self._on_error: Final = on_error
        self.one_server: Final = not isinstance(self._client, RedisCluster)
        """Whether all keys lie on one server, so that one command may name any of them."""
        address = Address.of(url)
        self._carrier: Final[_Carrier] = (
            Pipelines(self._client, timeout, on_error, self._lost)
            if address is None
            else Link(address, timeout, on_error, self._lost)
        )
        self._digests: Final[dict[str, str]] = {}
        self._channels: Final[set[str]] = set()
        self._pubsub: PubSub | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._probe: asyncio.Task[None] | None = None

    @property
    def healthy(self) -> bool:
        """Whether commands are being sent."""
        return self._probe is None

    async def execute(self, *command: str | bytes | float) -> object:
        """Run one command.

        Raises:
            StoreUnavailableError: refused, no answer in time, or none to be expected.
            NoScriptError: an EVALSHA of a script that the server does not know.
        """
        return await self.start(*command)

    def start(self, *command: str | bytes | float) -> Pending:
        """As `execute`, without waiting.

        Raises:
            StoreUnavailableError: no answer is to be expected; what goes wrong later is the future's.
        """
        waiter = self._waiter()
        self._carrier.send(command, waiter)
        return waiter

    def post(self, *command: str | bytes | float) -> None:
        """Run a command that nobody waits for, in some milliseconds at the latest.

        Where Redis is away, or the store is closed before that, it is dropped.
        """
        if self._probe is None:
            self._carrier.send_lazily(command, Told(self._running_loop()))

    def post_script(self, source: str, keys: Sequence[str], *arguments: str | bytes | float) -> None:
        """Run a script that nobody waits for; where Redis is away it is dropped."""
        if self._probe is None:
            waiter = Told(self._running_loop(), on_unknown=lambda: self.post(*_in_full(source, keys, arguments)))
            self._carrier.send(self._by_digest(source, keys, arguments), waiter)

    async def listen(self, heard: Callable[[str], None]) -> None:
        """Tell of each word on a channel that was subscribed to, by the channel's name, until cancelled.

        What is said while Redis is away is lost; a cluster is not listened to.
        """
        while self.one_server:
            with contextlib.suppress(Exception):
                async with self._client.pubsub() as pubsub:
                    await pubsub.subscribe(_SILENT)
                    self._pubsub = pubsub
                    if self._channels:
                        await pubsub.subscribe(*self._channels)
                    while not _is_cancelled():
                        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=_LISTEN)
                        if message is not None:
                            heard(message["channel"].decode())
            self._pubsub = None
            if _is_cancelled():
                return
            await asyncio.sleep(_PROBE_EVERY[-1])

    async def subscribe(self, channel: str) -> None:
        """Listen to a channel from now on, and whenever Redis is there."""
        self._channels.add(channel)
        await self._tell(lambda pubsub: pubsub.subscribe(channel))

    async def unsubscribe(self, channel: str) -> None:
        """Listen to it no longer."""
        self._channels.discard(channel)
        await self._tell(lambda pubsub: pubsub.unsubscribe(channel))

    async def look_up(self, *keys: str) -> list[bytes | None]:
        """Read keys that lie on one server of a cluster.

        Raises:
            StoreUnavailableError: as `execute`.
        """
        waiter: asyncio.Future[list[bytes | None]] = self._waiter()
        self._carrier.look_up(keys, waiter)
        return await waiter

    async def run_script(self, source: str, keys: Sequence[str], *arguments: str | bytes | float) -> object:
        """Run a Lua script on keys of one server; only one that does not know it yet is sent the source.

        Raises:
            StoreUnavailableError: as `execute`.
        """
        try:
            return await self.start(*self._by_digest(source, keys, arguments))
        except NoScriptError:
            return await self.execute(*_in_full(source, keys, arguments))  # nothing has run

    def pack_look_up(self, *keys: str) -> PackedCommand:
        """Pack a `look_up` that is `ask`ed again and again."""
        return _packed(("MGET", *keys))

    def pack_script(self, source: str, keys: Sequence[str], *arguments: str | bytes | float) -> PackedCommand:
        """Pack a script that is `ask`ed again and again, of a server that knows it."""
        return _packed(self._by_digest(source, keys, arguments))

    def ask(self, command: PackedCommand, tell: Callable[[Any], None]) -> None:
        """Run what was packed, without waiting: `tell` hears the reply, or None where there is none to be had.

        That is perhaps at once; and so it is where the server does not know the script.
        """
        if self._probe is None:
            self._carrier.send(command, Told(self._running_loop(), tell))
        else:
            tell(None)

    async def aclose(self) -> None:
        """Let go of all connections."""
        if self._probe is not None:
            self._probe.cancel()
        await self._carrier.aclose()
        await self._client.aclose()

    async def _tell(self, what: Callable[[PubSub], Awaitable[object]]) -> None:
        if self._pubsub is not None:
            # Where it goes wrong, whoever listens finds out, and subscribes anew.
            with contextlib.suppress(Exception), Deadline(TIMEOUT):
                await what(self._pubsub)

    def _by_digest(self, source: str, keys: Sequence[str], arguments: Command) -> Command:
        digest = self._digests.get(source)
        if digest is None:
            digest = self._digests[source] = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        return ("EVALSHA", digest, len(keys), *keys, *arguments)

    def _waiter(self) -> Pending:
        if self._probe is not None:
            raise StoreUnavailableError
        return self._running_loop().create_future()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            # Kept, for asking asyncio costs a system call each time.
            self._loop = asyncio.get_running_loop()
        return self._loop

    def _lost(self) -> None:
        self._on_error()
        if self._probe is None:
            self._probe = asyncio.get_running_loop().create_task(self._wait_for_it())

    async def _wait_for_it(self) -> None:
        """Ping until there is an answer; requests do not wait for it."""
        for attempt in count():
            await asyncio.sleep(_PROBE_EVERY[min(attempt, len(_PROBE_EVERY) - 1)])
            with contextlib.suppress(StoreUnavailableError):
                await self._carrier.ping()
                self._probe = None
                return


def _in_full(source: str, keys: Sequence[str], arguments: Command) -> Command:
    """A script with its source. EVAL goes to the keys' own server in a cluster, where SCRIPT LOAD would not."""
    return ("EVAL", source, len(keys), *keys, *arguments)


def _packed(command: Command) -> PackedCommand:
    return PackedCommand(command, packed(command))


def _is_cancelled() -> bool:
    """Whether the task was told to end: on Python 3.11 `asyncio.wait_for`, with which redis-py sends, can lose that."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
