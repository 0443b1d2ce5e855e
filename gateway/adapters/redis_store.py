"""Redis or Valkey through redis-py: batched, bounded in time, and given up on quickly.

Commands of one turn of the event loop travel as one pipeline, over connections that redis-py keeps. redis-py's own
retries are off: by default it tries ten times, so that one frozen server holds a request for a minute, and a lost
reply runs a command twice.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError

from gateway.flights import Deadline, hear
from gateway.ports import StoreUnavailableError

TIMEOUT: Final = 0.1
_CONNECTIONS: Final = 16
# Two batches on their way at a time: while they are, the next one grows, which costs less than a third connection.
_IN_FLIGHT: Final = 2
# How long one wait for a word may take; a broken connection is noticed by then.
_LISTEN: Final = 5.0
# As many scripts of 50 µs as one batch can answer well within its deadline.
_MOST_IN_BATCH: Final = 500
_PROBE_EVERY: Final = (0.1, 0.25, 0.5, 1.0)

Command = tuple[str | bytes | float, ...]
Client = Redis | RedisCluster


def connect(url: str) -> Client:
    """Make a client; nothing is sent yet.

    `url` is `redis://`, `rediss://`, `unix://`, `redis+sentinel://` or `redis+cluster://`.

    Raises:
        ValueError: for any other URL, without repeating its password.
    """
    options: dict[str, Any] = {"socket_connect_timeout": TIMEOUT, "retry": Retry(NoBackoff(), 0), "protocol": 2}
    scheme = urlsplit(url).scheme
    if scheme in {"redis", "rediss", "unix"}:
        pool = BlockingConnectionPool.from_url(url, max_connections=_CONNECTIONS, timeout=TIMEOUT, **options)
        return Redis.from_pool(pool)
    if scheme == "redis+cluster":
        options.pop("retry")
        return RedisCluster.from_url(url.replace("redis+cluster://", "redis://", 1), **options)
    if scheme == "redis+sentinel":
        return _sentinel(url, options)
    message = f"{scheme or 'no'}:// is none of redis://, rediss://, unix://, redis+sentinel://, redis+cluster://"
    raise ValueError(message)


def _sentinel(url: str, options: dict[str, Any]) -> Client:
    parts = urlsplit(url)
    service = parts.path.strip("/")
    hosts = parts.netloc.rpartition("@")[2]
    pairs = [host.rpartition(":") for host in hosts.split(",")]
    if not service or not all(host and port.isdigit() for host, _, port in pairs):
        message = "a Sentinel URL is redis+sentinel://host:port,host:port/service"
        raise ValueError(message)
    if parts.password:
        options["password"] = parts.password
    if parts.username:
        options["username"] = parts.username
    addresses = [(host, int(port)) for host, _, port in pairs]
    sentinel = Sentinel(addresses, sentinel_kwargs=options, **options)  # type: ignore[no-untyped-call]  # theirs
    master: Redis = sentinel.master_for(service)
    return master


class RedisStore:
    """Runs commands, or says at once that it cannot.

    After one failure nobody waits for Redis until a background probe got an answer from it.
    """

    def __init__(self, client: Client, on_error: Callable[[], None]) -> None:
        self._client: Final = client
        self._on_error: Final = on_error
        self.one_server: Final = not isinstance(client, RedisCluster)
        """Whether all keys lie on one server, so that one command may name any of them."""
        self._commands: list[tuple[Command, asyncio.Future[Any]]] = []
        self._lookups: list[tuple[tuple[str, ...], asyncio.Future[Any]]] = []
        self._digests: Final[dict[str, str]] = {}
        self._running = 0
        self._scheduled = False
        self._probe: asyncio.Task[None] | None = None
        self._tasks: Final[set[asyncio.Task[None]]] = set()

    @property
    def healthy(self) -> bool:
        """Whether commands are being sent."""
        return self._probe is None

    async def execute(self, *command: str | bytes | float) -> object:
        """Run one command.

        Raises:
            StoreUnavailableError: no answer within 100 ms, or none to be expected.
        """
        future = self._enter()
        self._commands.append((command, future))
        return await future

    def post(self, *command: str | bytes | float) -> None:
        """Run a command that nobody waits for; where Redis is away it is dropped."""
        with contextlib.suppress(StoreUnavailableError):
            future = self._enter()
            future.add_done_callback(hear)
            self._commands.append((command, future))

    async def listen(self, channel: str, heard: Callable[[str], None]) -> None:
        """Hear a channel until cancelled. What is said while Redis is away is lost; a cluster is not listened to."""
        while not isinstance(self._client, RedisCluster):
            with contextlib.suppress(Exception):
                async with self._client.pubsub() as pubsub:
                    await pubsub.subscribe(channel)
                    while True:
                        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=_LISTEN)
                        if message is not None:
                            heard(message["data"].decode())
            await asyncio.sleep(_PROBE_EVERY[-1])

    async def look_up(self, *keys: str) -> list[bytes | None]:
        """Read keys that lie on one server of a cluster; look-ups of one turn of the loop travel as one command.

        Raises:
            StoreUnavailableError: as `execute`.
        """
        future = self._enter()
        self._lookups.append((keys, future))
        found: list[bytes | None] = await future
        return found

    async def run_script(self, source: str, keys: Sequence[str], *arguments: str | float) -> object:
        """Run a Lua script on keys of one server; only one that does not know it yet is sent the source.

        Raises:
            StoreUnavailableError: as `execute`.
        """
        digest = self._digests.get(source)
        if digest is None:
            digest = self._digests[source] = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        try:
            return await self.execute("EVALSHA", digest, len(keys), *keys, *arguments)
        except NoScriptError:
            # Nothing has run. EVAL goes to the keys' own server in a cluster, where SCRIPT LOAD would not.
            return await self.execute("EVAL", source, len(keys), *keys, *arguments)

    async def aclose(self) -> None:
        """Let go of all connections."""
        for task in [*self._tasks, *filter(None, [self._probe])]:
            task.cancel()
        await self._client.aclose()

    def _enter(self) -> asyncio.Future[Any]:
        if self._probe is not None:
            raise StoreUnavailableError
        loop = asyncio.get_running_loop()
        self._schedule(loop)
        return loop.create_future()

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
        if not self.one_server:
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

    async def _run_lookups(self, lookups: list[tuple[tuple[str, ...], asyncio.Future[Any]]]) -> None:
        keys = [key for keys, _ in lookups for key in keys]
        try:
            with Deadline(TIMEOUT):
                found: list[bytes | None] = await self._client.execute_command("MGET", *keys)
        except Exception:  # noqa: BLE001 - whatever it is, those who wait must be told
            self._fail([future for _, future in lookups])
            return
        position = 0
        for wanted, future in lookups:
            if not future.done():
                future.set_result(found[position : position + len(wanted)])
            position += len(wanted)

    async def _run(self, commands: list[tuple[Command, asyncio.Future[Any]]]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for command, _ in commands:
            pipeline.execute_command(*command)
        try:
            with Deadline(TIMEOUT):
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
                self._on_error()
                future.set_exception(StoreUnavailableError())
            else:
                future.set_result(answer)

    def _fail(self, futures: list[asyncio.Future[Any]]) -> None:
        self._on_error()
        waiting = [*futures, *(entry[1] for entry in (*self._lookups, *self._commands))]
        self._lookups, self._commands = [], []
        for future in waiting:
            if not future.done():
                future.set_exception(StoreUnavailableError())
        if self._probe is None:
            self._probe = asyncio.get_running_loop().create_task(self._wait_for_it())

    async def _wait_for_it(self) -> None:
        """Ping until there is an answer; requests do not wait for it."""
        for attempt in range(10**9):
            await asyncio.sleep(_PROBE_EVERY[min(attempt, len(_PROBE_EVERY) - 1)])
            try:
                with Deadline(TIMEOUT):
                    await self._client.execute_command("PING")
            except Exception:  # noqa: BLE001, S112 - it is not back, whatever it says
                continue
            self._probe = None
            return
