"""redis-py: every kind of Redis that it knows, and commands over it.

It finds the master through Sentinel and the server of a key in a cluster, speaks TLS, and hears channels. Commands of
one turn of the event loop travel as one pipeline. Its own retries are off: by default it tries ten times, so that one
frozen server holds a request for a minute, and a lost reply runs a command twice.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError

from gateway.adapters.redis_connection import Command, PackedCommand, Waiter, refuse
from gateway.flights import Deadline
from gateway.ports import StoreUnavailableError

# In seconds; also how long to wait for one of so many connections to be free.
_CONNECT_WITHIN: Final = 0.1
_CONNECTIONS: Final = 16
# Two batches on their way at a time: while they are, the next one grows, which costs less than a third connection.
_IN_FLIGHT: Final = 2
# As many scripts of 50 µs as one batch can answer well within its deadline.
_MOST_IN_BATCH: Final = 500

Client = Redis | RedisCluster


class Master(Redis):
    """The server that Sentinels name; they are asked whenever a connection is opened, one after the other."""

    @property
    def sentinels(self) -> Sentinel:
        """Those who name it."""
        found: Sentinel = cast("SentinelConnectionPool", self.connection_pool).sentinel_manager
        return found

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - theirs
        """Let go of all connections, those to Sentinels too."""
        await super().aclose(close_connection_pool)
        await self.sentinels.aclose()


def connect(url: str) -> Client:
    """Make a client; nothing is sent yet.

    `url` is `redis://`, `rediss://`, `unix://`, `redis+sentinel://` or `redis+cluster://`.

    Raises:
        ValueError: for any other URL, without repeating its password.
    """
    options: dict[str, Any] = {"socket_connect_timeout": _CONNECT_WITHIN, "retry": Retry(NoBackoff(), 0), "protocol": 2}
    scheme = urlsplit(url).scheme
    if scheme in {"redis", "rediss", "unix"}:
        pool = BlockingConnectionPool.from_url(url, max_connections=_CONNECTIONS, timeout=_CONNECT_WITHIN, **options)
        return Redis.from_pool(pool)
    if scheme == "redis+cluster":
        options.pop("retry")
        return RedisCluster.from_url(url.replace("redis+cluster://", "redis://", 1), **options)
    if scheme == "redis+sentinel":
        return _sentinel(url, options)
    message = f"{scheme or 'no'}:// is none of redis://, rediss://, unix://, redis+sentinel://, redis+cluster://"
    raise ValueError(message)


def _sentinel(url: str, options: dict[str, Any]) -> Master:
    parts = urlsplit(url)
    service = parts.path.strip("/")
    hosts = parts.netloc.rpartition("@")[2]
    pairs = [host.rpartition(":") for host in hosts.split(",")]
    if not service or not all(host and port.isdigit() for host, _, port in pairs):
        message = "a Sentinel URL is redis+sentinel://host:port,host:port/service"
        raise ValueError(message)
    addresses = [(host, int(port)) for host, _, port in pairs]
    named = {"username": parts.username, "password": parts.password}
    credentials = {name: unquote(value) for name, value in named.items() if value}
    bounded = {**options, "socket_timeout": _CONNECT_WITHIN}
    sentinels = Sentinel(addresses, sentinel_kwargs=bounded | credentials, **options, **credentials)  # type: ignore[no-untyped-call]  # theirs
    if credentials:
        # The credentials are the master's. A Sentinel that has none refuses whoever comes with some: each is asked
        # again without.
        sentinels.sentinels += [Redis(host=host, port=port, **bounded) for host, port in addresses]
    master: Master = sentinels.master_for(service, redis_class=Master)
    return master


def _finding(client: Client) -> float:
    """How many seconds longer it may take to find the server: each Sentinel may be slow to connect, then silent."""
    return 2 * _CONNECT_WITHIN * len(client.sentinels.sentinels) if isinstance(client, Master) else 0.0


class Pipelines:
    """Carries commands over redis-py; `on_refusal` and `on_lost` hear as from a `Link`.

    `timeout` is how many seconds a batch may take.
    """

    def __init__(
        self, client: Client, timeout: float, on_refusal: Callable[[], None], on_lost: Callable[[], None]
    ) -> None:
        self._client: Final = client
        self._timeout: Final = timeout
        self._on_refusal: Final = on_refusal
        self._on_lost: Final = on_lost
        self._one_server: Final = not isinstance(client, RedisCluster)
        self._commands: list[tuple[Command, Waiter]] = []
        self._lookups: list[tuple[tuple[str, ...], Waiter]] = []
        self._running = 0
        self._scheduled = False
        self._tasks: Final[set[asyncio.Task[None]]] = set()

    def send(self, command: Command | PackedCommand, waiter: Waiter) -> None:
        """Send a command with the others of this turn of the loop; its waiter hears as from a `Link`."""
        self._commands.append((command.command if isinstance(command, PackedCommand) else command, waiter))
        self._schedule(waiter.get_loop())

    def send_lazily(self, command: Command, waiter: Waiter) -> None:
        """As `send`."""
        self.send(command, waiter)  # while pipelines are under way it lingers anyhow

    def look_up(self, keys: tuple[str, ...], waiter: Waiter) -> None:
        """Read keys that lie on one server; the look-ups of one turn of the loop travel as one command."""
        self._lookups.append((keys, waiter))
        self._schedule(waiter.get_loop())

    async def ping(self) -> None:
        """Ask whether it is there, or raise `StoreUnavailableError`."""
        try:
            with Deadline(self._timeout + _finding(self._client)):
                await self._client.execute_command("PING")
        except Exception as error:
            raise StoreUnavailableError from error

    async def aclose(self) -> None:
        """Let go of what is on its way. The client is its owner's to close."""
        for task in self._tasks:
            task.cancel()

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._scheduled and self._running < _IN_FLIGHT:
            self._scheduled = True
            loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        # A waiter that was cancelled needs no answer; what was sent for one is answered in its order all the same.
        lookups = [entry for entry in self._lookups if not entry[1].done()]
        commands = [entry for entry in self._commands if not entry[1].done()]
        self._lookups, self._commands = [], commands[_MOST_IN_BATCH:]
        del commands[_MOST_IN_BATCH:]
        if not self._one_server:
            commands += [(("MGET", *keys), future) for keys, future in lookups]
            lookups = []
        for work in (self._run_lookups(lookups) if lookups else None, self._run(commands) if commands else None):
            if work is not None:
                self._running += 1
                task = asyncio.get_running_loop().create_task(work)
                self._tasks.add(task)
                task.add_done_callback(self._ran)
        if self._commands:
            self._schedule(asyncio.get_running_loop())

    def _ran(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._running -= 1
        if self._lookups or self._commands:
            self._schedule(asyncio.get_running_loop())

    async def _run_lookups(self, lookups: list[tuple[tuple[str, ...], Waiter]]) -> None:
        keys = [key for keys, _ in lookups for key in keys]
        try:
            with Deadline(self._timeout):
                found: list[bytes | None] = await self._client.execute_command("MGET", *keys)
        except Exception:  # noqa: BLE001 - whatever it is, those who wait must be told
            self._fail([future for _, future in lookups])
            return
        position = 0
        for wanted, future in lookups:
            if not future.done():
                future.set_result(found[position : position + len(wanted)])
            position += len(wanted)

    async def _run(self, commands: list[tuple[Command, Waiter]]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for command, _ in commands:
            pipeline.execute_command(*command)
        try:
            with Deadline(self._timeout):
                answers = await pipeline.execute(raise_on_error=False)
        except Exception:  # noqa: BLE001 - as above
            self._fail([future for _, future in commands])
            return
        for (_, future), answer in zip(commands, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, NoScriptError):
                future.set_exception(answer)
            elif isinstance(answer, Exception):
                self._on_refusal()
                future.set_exception(StoreUnavailableError())
            else:
                future.set_result(answer)

    def _fail(self, futures: list[Waiter]) -> None:
        waiting = [*futures, *(entry[1] for entry in (*self._lookups, *self._commands))]
        self._lookups, self._commands = [], []
        self._on_lost()
        refuse(waiting)
