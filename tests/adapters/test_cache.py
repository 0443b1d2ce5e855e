"""The cache trusts nothing it reads back: whatever is not its own sound entry is a miss."""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from gateway.adapters.cache import RedisCache
from gateway.adapters.embedded import EmbeddedValkey
from gateway.adapters.redis_store import RedisStore
from tests.adapters.calling import NoStore
from tests.fakes import FakeClock

FINGERPRINT = "f" * 64
IMAGE = f"gw:{{{FINGERPRINT}}}:image"
URL = "https://pictures.example/1.png"
SOUND = {"fingerprint": FINGERPRINT, "url": URL, "expires": 1_900_000_000.0, "schema": "1"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cache(store: RedisStore, clock: FakeClock) -> RedisCache:
    return RedisCache(store, clock)


GARBAGE: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("text", b"https://pictures.example/1.png"),
    ("bytes", bytes(range(256))),
    ("null", b"null"),
    ("array", b"[]"),
    ("empty-object", b"{}"),
    ("deep", b"[" * 100_000),
    ("pickle", b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94."),
    ("other-fingerprint", orjson.dumps({**SOUND, "fingerprint": "e" * 64})),
    ("other-schema", orjson.dumps({**SOUND, "schema": "0"})),
    ("lapsed", orjson.dumps({**SOUND, "expires": 1_700_000_000.0})),
    ("expires-text", orjson.dumps({**SOUND, "expires": "never"})),
    ("url-number", orjson.dumps({**SOUND, "url": 1})),
    ("url-script", orjson.dumps({**SOUND, "url": "javascript:alert(1)"})),
    ("url-file", orjson.dumps({**SOUND, "url": "file:///etc/passwd"})),
    ("url-empty", orjson.dumps({**SOUND, "url": ""})),
    ("cut-short", orjson.dumps(SOUND)[:-5]),
]


@pytest.mark.parametrize("value", [value for _, value in GARBAGE], ids=[name for name, _ in GARBAGE])
async def test_garbage_for_a_picture_is_a_miss(cache: RedisCache, redis: Redis, value: bytes) -> None:
    await redis.set(IMAGE, value)

    assert await cache.recall(FINGERPRINT) is None


@pytest.mark.parametrize(
    "command",
    [("LPUSH", "x"), ("SADD", "x"), ("HSET", "a", "b"), ("ZADD", 1, "x"), ("XADD", "*", "a", "b"), ("PFADD", "x")],
    ids=["list", "set", "hash", "sorted-set", "stream", "hyperloglog"],
)
async def test_a_key_of_another_type_is_a_miss_and_is_written_over(
    cache: RedisCache, redis: Redis, command: tuple[Any, ...]
) -> None:
    await redis.execute_command(command[0], IMAGE, *command[1:])  # type: ignore[no-untyped-call]  # theirs

    assert await cache.recall(FINGERPRINT) is None
    assert await cache.keep(FINGERPRINT, URL, 100)
    found = await cache.recall(FINGERPRINT)
    assert found is not None
    assert found.url == URL


async def test_what_is_kept_lives_as_long_as_it_says(cache: RedisCache, redis: Redis, clock: FakeClock) -> None:
    assert await cache.keep(FINGERPRINT, URL, 100)

    found = await cache.recall(FINGERPRINT)
    ttl = await redis.ttl(IMAGE)
    clock.advance(101)

    assert found is not None
    assert found.expires == clock.now() - 1
    assert 95 < ttl <= 100
    assert await cache.recall(FINGERPRINT) is None


async def test_without_redis_it_misses_and_keeps_nothing(clock: FakeClock) -> None:
    cache = RedisCache(NoStore(), clock)

    assert await cache.keep(FINGERPRINT, URL, 100) is False
    assert await cache.recall(FINGERPRINT) is None


async def test_zero_seconds_keep_nothing(cache: RedisCache, redis: Redis) -> None:
    assert await cache.keep(FINGERPRINT, URL, 0) is False

    assert await cache.recall(FINGERPRINT) is None
    assert await redis.dbsize() == 0


async def test_what_a_frozen_server_was_told_does_not_undo_what_it_is_told_when_it_is_back(
    own: tuple[EmbeddedValkey, int], open_store: Callable[..., RedisStore], clock: FakeClock
) -> None:
    """The one is found on a connection that was given up, the other on a new one."""
    valkey, pid = own
    store = open_store(valkey.url)
    cache = RedisCache(store, clock)
    await store.execute("PING")

    os.kill(pid, signal.SIGSTOP)
    assert await cache.keep(FINGERPRINT, URL, 100) is False
    os.kill(pid, signal.SIGCONT)
    while not await cache.keep(FINGERPRINT, "media:1.png", 100):  # noqa: ASYNC110 - only the server knows
        await asyncio.sleep(0.01)

    async with Redis.from_url(valkey.url) as client:
        value = await client.get(IMAGE)

    assert isinstance(value, bytes)
    assert orjson.loads(value)["url"] == "media:1.png"
