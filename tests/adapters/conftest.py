"""A real Valkey for the adapters' tests, emptied before each."""

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.adapters.embedded import EmbeddedValkey
from gateway.adapters.redis_store import RedisStore, connect
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
async def open_store(errors: Errors) -> AsyncIterator[Callable[[str], RedisStore]]:
    """Makes stores, and closes them whatever became of the test."""
    made: list[RedisStore] = []

    def make(url: str) -> RedisStore:
        made.append(RedisStore(connect(url), errors))
        return made[-1]

    yield make
    for store in made:
        await store.aclose()


@pytest.fixture
def store(redis: Redis, redis_url: str, open_store: Callable[[str], RedisStore]) -> RedisStore:
    return open_store(redis_url)
