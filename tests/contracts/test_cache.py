"""What every cache promises: the one on Redis, and the fake that the pipeline is tested with."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.adapters.cache import RedisCache
from gateway.adapters.embedded import EmbeddedValkey
from gateway.adapters.redis_store import RedisStore
from gateway.core.entry import Entry
from gateway.ports import Cache
from tests.fakes import FakeClock, MemoryCache

ONE, TWO = "1" * 64, "2" * 64
URL = "https://pictures.example/1.png"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["fake", "redis"])
async def cache(request: pytest.FixtureRequest, clock: FakeClock) -> AsyncIterator[Cache]:
    if request.param == "fake":
        yield MemoryCache(clock)
        return
    with tempfile.TemporaryDirectory(prefix="valkey-") as folder:
        valkey = EmbeddedValkey(Path(folder), lambda: None)
        valkey.start()
        store = RedisStore(valkey.url, lambda: None)
        yield RedisCache(store, clock)
        await store.aclose()
        valkey.stop()


async def test_what_was_never_kept_is_a_miss(cache: Cache) -> None:
    assert await cache.recall(ONE) is None


async def test_what_is_kept_is_found_until_it_lapses(cache: Cache, clock: FakeClock) -> None:
    assert await cache.keep(ONE, URL, 100) is True

    found = [await cache.recall(ONE), await cache.recall(TWO)]
    clock.advance(101)

    entry = Entry(ONE, URL, clock.now() - 1)
    assert found == [entry, None]
    assert await cache.recall(ONE) is None


async def test_what_is_kept_again_replaces(cache: Cache) -> None:
    await cache.keep(ONE, URL, 100)
    await cache.keep(ONE, f"{URL}?2", 200)

    found = await cache.recall(ONE)

    assert isinstance(found, Entry)
    assert found.url == f"{URL}?2"


async def test_nothing_is_kept_for_no_time(cache: Cache) -> None:
    assert await cache.keep(ONE, URL, 0) is False
    assert await cache.recall(ONE) is None
