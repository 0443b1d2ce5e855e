"""The cache trusts nothing it reads back: whatever is not its own sound entry is a miss."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from gateway.adapters.cache import RedisCache
from gateway.adapters.redis_store import RedisStore
from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import Caller
from gateway.ports import StoreUnavailableError
from tests.fakes import FakeClock

FINGERPRINT = "f" * 64
IMAGE = f"gw:{{{FINGERPRINT}}}:image"
UNKNOWN = f"gw:{{{FINGERPRINT}}}:unknown:first"
CALLER = Caller("first", "team")
URL = "https://pictures.example/1.png"
SOUND = {"fingerprint": FINGERPRINT, "url": URL, "expires": 1_900_000_000.0, "schema": "1"}
HELD = {"fingerprint": FINGERPRINT, "code": "upstream_unknown", "message": "m", "schema": "1"}


class Away:
    """A store without a server."""

    healthy = False

    async def execute(self, *command: str | bytes | float) -> object:
        raise StoreUnavailableError

    async def look_up(self, *keys: str) -> list[bytes | None]:
        raise StoreUnavailableError

    async def run_script(self, source: str, keys: Sequence[str], *arguments: str | float) -> object:
        raise StoreUnavailableError


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cache(store: RedisStore, clock: FakeClock) -> RedisCache:
    return RedisCache(store, clock, unknown_hold=60)


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

    assert await cache.recall(FINGERPRINT, CALLER) is None


@pytest.mark.parametrize("key", [IMAGE, UNKNOWN], ids=["image", "unknown"])
@pytest.mark.parametrize(
    "command",
    [("LPUSH", "x"), ("SADD", "x"), ("HSET", "a", "b"), ("ZADD", 1, "x"), ("XADD", "*", "a", "b"), ("PFADD", "x")],
    ids=["list", "set", "hash", "sorted-set", "stream", "hyperloglog"],
)
async def test_a_key_of_another_type_is_a_miss_and_is_written_over(
    cache: RedisCache, redis: Redis, key: str, command: tuple[Any, ...]
) -> None:
    await redis.execute_command(command[0], key, *command[1:])  # type: ignore[no-untyped-call]  # theirs

    assert await cache.recall(FINGERPRINT, CALLER) is None
    assert await cache.keep(FINGERPRINT, URL, 100)
    found = await cache.recall(FINGERPRINT, CALLER)
    assert found is not None
    assert not isinstance(found, GatewayError)
    assert found.url == URL


@pytest.mark.parametrize(
    "value",
    [
        *[value for _, value in GARBAGE],
        orjson.dumps({**HELD, "code": "no_such_code"}),
        orjson.dumps({**HELD, "fingerprint": "e" * 64}),
        orjson.dumps({**HELD, "schema": "0"}),
        orjson.dumps({**HELD, "message": None}),
    ],
    ids=[*[name for name, _ in GARBAGE], "no-such-code", "held-other", "held-schema", "held-message"],
)
async def test_garbage_for_an_unknown_outcome_hides_no_picture(cache: RedisCache, redis: Redis, value: bytes) -> None:
    await cache.keep(FINGERPRINT, URL, 100)
    await redis.set(UNKNOWN, value)

    found = await cache.recall(FINGERPRINT, CALLER)

    assert found is not None
    assert not isinstance(found, GatewayError)


async def test_what_is_kept_lives_as_long_as_it_says(cache: RedisCache, redis: Redis, clock: FakeClock) -> None:
    assert await cache.keep(FINGERPRINT, URL, 100)

    found = await cache.recall(FINGERPRINT, CALLER)
    ttl = await redis.ttl(IMAGE)
    clock.advance(101)

    assert found is not None
    assert not isinstance(found, GatewayError)
    assert found.expires == clock.now() - 1
    assert 95 < ttl <= 100
    assert await cache.recall(FINGERPRINT, CALLER) is None


async def test_an_unknown_outcome_reaches_its_key_in_every_process_for_a_while(
    cache: RedisCache, store: RedisStore, redis: Redis, clock: FakeClock
) -> None:
    elsewhere = RedisCache(store, clock, unknown_hold=60)
    await cache.hold(FINGERPRINT, CALLER, GatewayError(Kind.UPSTREAM_TIMEOUT, "late"))

    here, there = await cache.recall(FINGERPRINT, CALLER), await elsewhere.recall(FINGERPRINT, CALLER)
    other_key = await elsewhere.recall(FINGERPRINT, Caller("second", "team"))
    other_picture = await elsewhere.recall("e" * 64, CALLER)

    for told in (here, there):
        assert isinstance(told, GatewayError)
        assert (told.kind, told.message) == (Kind.UPSTREAM_TIMEOUT, "late")
    assert (other_key, other_picture) == (None, None)
    assert 55 < await redis.ttl(UNKNOWN) <= 60


async def test_here_it_is_forgotten_when_its_time_is_over(cache: RedisCache, redis: Redis, clock: FakeClock) -> None:
    await cache.hold(FINGERPRINT, CALLER, GatewayError(Kind.UPSTREAM_UNKNOWN, "lost"))
    await redis.delete(UNKNOWN)

    assert isinstance(await cache.recall(FINGERPRINT, CALLER), GatewayError)
    clock.advance(61)
    assert await cache.recall(FINGERPRINT, CALLER) is None


async def test_without_redis_it_misses_keeps_nothing_and_still_remembers(clock: FakeClock) -> None:
    cache = RedisCache(Away(), clock, unknown_hold=60)

    assert await cache.keep(FINGERPRINT, URL, 100) is False
    assert await cache.recall(FINGERPRINT, CALLER) is None
    await cache.hold(FINGERPRINT, CALLER, GatewayError(Kind.UPSTREAM_UNKNOWN, "lost"))
    assert isinstance(await cache.recall(FINGERPRINT, CALLER), GatewayError)


async def test_zero_seconds_keep_nothing(store: RedisStore, redis: Redis, clock: FakeClock) -> None:
    cache = RedisCache(store, clock, unknown_hold=0)

    assert await cache.keep(FINGERPRINT, URL, 0) is False
    await cache.hold(FINGERPRINT, CALLER, GatewayError(Kind.UPSTREAM_UNKNOWN, "lost"))

    assert await cache.recall(FINGERPRINT, CALLER) is None
    assert await redis.dbsize() == 0


async def test_ten_thousand_unknown_outcomes_are_not_kept_for_ever(clock: FakeClock) -> None:
    cache = RedisCache(Away(), clock, unknown_hold=60)
    for number in range(10_000):
        await cache.hold(str(number), CALLER, GatewayError(Kind.UPSTREAM_UNKNOWN, "lost"))
    clock.advance(61)

    await cache.hold(FINGERPRINT, CALLER, GatewayError(Kind.UPSTREAM_UNKNOWN, "lost"))

    assert len(cache._held) == 1
