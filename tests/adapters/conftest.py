"""What the adapters' tests share: a Valkey, emptied before each; one of a test's own; a simulator, and a way to it."""

import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.adapters.embedded import EmbeddedValkey
from gateway.adapters.redis_store import TIMEOUT, RedisStore
from gateway.adapters.upstream import KeptTransport
from tests.acceptance.programs import Simulator, simulating
from tests.adapters.errors import Errors


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="valkey-") as folder:
        valkey = EmbeddedValkey(Path(folder), lambda: None)
        valkey.start()
        yield valkey.url
        valkey.stop()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def errors() -> Errors:
    return Errors()


@pytest.fixture
async def open_store(errors: Errors) -> AsyncIterator[Callable[..., RedisStore]]:
    """Makes stores, and closes them whatever became of the test."""
    made: list[RedisStore] = []

    def make(url: str, timeout: float = TIMEOUT) -> RedisStore:
        made.append(RedisStore(url, errors, timeout))
        return made[-1]

    yield make
    for store in made:
        await store.aclose()


@pytest.fixture
def store(redis: Redis, redis_url: str, open_store: Callable[..., RedisStore]) -> RedisStore:
    return open_store(redis_url)


@pytest.fixture
async def own() -> AsyncIterator[tuple[EmbeddedValkey, int]]:
    """A server of the test's own, and its process id."""
    with tempfile.TemporaryDirectory(prefix="valkey-") as folder:
        valkey = EmbeddedValkey(Path(folder), lambda: None)
        valkey.start()
        client = Redis.from_url(valkey.url)
        info = await client.info("server")
        await client.aclose()
        pid = int(info["process_id"])
        yield valkey, pid
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        valkey.stop()


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with simulating() as running:
        yield running


@pytest.fixture
async def transport() -> AsyncIterator[KeptTransport]:
    made = KeptTransport()
    yield made
    await made.aclose()
