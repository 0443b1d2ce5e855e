"""Requests whose pictures are all kept, let in on a real Valkey: in one step, where that decides all of it."""

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.adapters.embedded import EmbeddedValkey
from gateway.adapters.limiter import LimiterOptions, RedisLimiter
from gateway.adapters.redis_store import RedisStore
from gateway.core.errors import GatewayError
from gateway.core.keys import Caller, Terms
from gateway.core.limits import Admission, OnAdmission
from tests.adapters.errors import Errors
from tests.fakes import FakeClock, FakeObserver, Recorder, until

Open = Callable[..., RedisStore]

NAME, OTHER_NAME = "gw:{1}:image", "gw:{2}:image"
PATIENCE = 10.0  # a busy machine is no server that is away
ASKS = Caller("key", "team", Terms(rpm=3, ipm=4, concurrency=2), Terms(rpm=4))
FREE = Caller("free", "free")


@dataclass
class Kept:
    """A limiter, and what its observer was told."""

    limiter: RedisLimiter
    store: RedisStore
    record: Recorder
    admissions: dict[tuple[Caller, tuple[str, ...]], Callable[[OnAdmission], None]] = field(default_factory=dict)
    """One for each caller and its pictures, which is asked again and again."""

    def start(self, asks: Caller, *names: str) -> asyncio.Future[Admission | None]:
        told: asyncio.Future[Admission | None] = asyncio.get_running_loop().create_future()
        alike = asks, names or (NAME,)
        if alike not in self.admissions:
            self.admissions[alike] = self.limiter.kept_admission(*alike)
        self.admissions[alike](told.set_result)
        return told

    async def ask(self, asks: Caller = ASKS, *names: str) -> Admission | None:
        return await self.start(asks, *names)

    async def in_full(self, name: str, asks: Caller = ASKS) -> Admission | GatewayError:
        try:
            return await self.limiter.admit(asks, name, 1, [NAME])
        except GatewayError as error:
            return error


@pytest.fixture
def make(redis_url: str, redis: Redis, open_store: Open) -> Callable[..., Kept]:
    def make(url: str = redis_url, timeout: float = PATIENCE, **options: float) -> Kept:
        store, record = open_store(url, timeout), Recorder()
        limiter = RedisLimiter(store, FakeObserver(record), FakeClock(), LimiterOptions(**options))  # type: ignore[arg-type]
        return Kept(limiter, store, record)

    return make


@pytest.fixture
async def kept(make: Callable[..., Kept], redis: Redis) -> Kept:
    """One whose server knows the script, and has a picture."""
    made = make()
    await made.limiter.admit(Caller("other", "other", Terms(rpm=1)), "other", 0, None)
    await redis.flushall()
    await redis.set(NAME, b"picture \xff")
    return made


async def keys_of(redis: Redis, pattern: str = "*") -> list[str]:
    return sorted(str(name, "utf-8") for name in await redis.keys(pattern) if isinstance(name, bytes))


async def everything(redis: Redis) -> dict[str, object]:
    """All that is on the server, as it is; when each key ends too."""
    return {name: (await redis.dump(name), await redis.pexpiretime(name)) for name in await keys_of(redis)}


async def requests(redis: Redis) -> dict[str, int]:
    """How many requests are counted, by the end of the key."""
    counted = {}
    for name in await keys_of(redis, "*:window:requests:*"):
        value = await redis.get(name)
        assert isinstance(value, bytes)
        counted[name.partition(":requests:")[2]] = int.from_bytes(value[:6], "big")
    return counted


async def test_requests_of_key_and_team_are_counted_and_nothing_else_is_written(kept: Kept, redis: Redis) -> None:
    admissions = [await kept.ask() for _ in range(2)]

    assert [admission and admission.found for admission in admissions] == [[b"picture \xff"]] * 2
    assert await requests(redis) == {"key:key": 2, "team": 2}
    assert await keys_of(redis) == [
        NAME,
        "gw:{team}:limit:window:requests:key:key",
        "gw:{team}:limit:window:requests:team",
    ]
    assert kept.record.verbs == []


@pytest.mark.parametrize("names", [(NAME, OTHER_NAME), (OTHER_NAME, NAME), (OTHER_NAME,)])
async def test_where_a_picture_is_missing_the_server_is_left_as_it_was(
    kept: Kept, redis: Redis, names: tuple[str, ...]
) -> None:
    empty = await everything(redis)
    assert [await kept.ask(ASKS, *names), await kept.ask(FREE, *names)] == [None, None]
    assert await everything(redis) == empty
    await kept.ask()
    before = await everything(redis)

    assert await kept.ask(ASKS, *names) is None
    assert await everything(redis) == before


async def test_a_refusal_leaves_the_server_as_it_was_and_is_told_by_nobody(kept: Kept, redis: Redis) -> None:
    for _ in range(3):
        assert await kept.ask() is not None
    before = await everything(redis)

    assert [await kept.ask() for _ in range(5)] == [None] * 5
    assert (await everything(redis), kept.record.verbs) == (before, [])
    assert isinstance(await kept.in_full("req_1"), GatewayError)
    assert kept.record.verbs == ["limited team key_requests"]


async def test_exactly_as_many_are_let_in_of_200_at_once_in_either_way(
    kept: Kept, make: Callable[..., Kept], redis: Redis, errors: Errors
) -> None:
    workers, asks = [kept, make()], Caller("key", "team", Terms(rpm=100), Terms(rpm=77, concurrency=1))

    one = [workers[number % 2].start(asks) for number in range(100)]
    other = [workers[number % 2].in_full(f"req_{number}", asks) for number in range(100)]
    answers = [*await asyncio.gather(*one), *await asyncio.gather(*other)]

    assert sum(isinstance(answer, Admission) for answer in answers) == 77
    assert (await requests(redis), errors.count) == ({"key:key": 77, "team": 77}, 0)


async def test_slots_that_have_lapsed_count_no_longer(make: Callable[..., Kept], redis: Redis) -> None:
    kept = make(window=0.2)
    await redis.set(NAME, b"picture")
    for number in range(3):
        await kept.in_full(f"req_{number}")
    assert isinstance(await kept.in_full("req_4"), GatewayError)
    for name in await keys_of(redis, "*:window:*"):
        await redis.persist(name)
    await asyncio.sleep(0.21)

    admission = await kept.ask()

    assert admission is not None
    assert [standing.remaining for standing in admission.standings] == [2, 4]
    assert await requests(redis) == {"key:key": 1, "team": 1}


async def test_a_server_that_has_to_be_told_the_script_is_told_by_who_asks_in_full(
    kept: Kept, redis: Redis, errors: Errors
) -> None:
    await redis.script_flush()
    before = await everything(redis)

    assert [await kept.ask() for _ in range(3)] == [None] * 3
    assert await everything(redis) == before
    assert isinstance(await kept.in_full("req_1"), Admission)
    assert await kept.ask() is not None
    assert (await requests(redis), errors.count) == ({"key:key": 2, "team": 2}, 0)


async def test_pictures_on_another_server_are_left_to_who_asks_in_full(
    kept: Kept, redis: Redis, redis_url: str, open_store: Open
) -> None:
    store, cache = open_store(redis_url, PATIENCE), open_store(f"{redis_url}?db=1", PATIENCE)
    apart = Kept(RedisLimiter(store, FakeObserver(), FakeClock(), cache=cache), store, Recorder())
    await cache.execute("SET", NAME, b"picture")
    before = await everything(redis)

    assert [await apart.ask(), await apart.ask(FREE)] == [None, None]
    assert await everything(redis) == before
    assert isinstance(admission := await apart.in_full("req_1"), Admission)
    assert admission.found == [b"picture"]


async def test_while_the_server_is_away_the_worker_is_asked_in_full(
    kept: Kept, make: Callable[..., Kept], tmp_path: Path
) -> None:
    away = make(f"unix://{tmp_path}/nobody")

    for asks in (ASKS, FREE):
        assert [await away.ask(asks) for _ in range(3)] == [None] * 3
        assert isinstance(admission := await away.in_full("req_1", asks), Admission)
        assert admission.found is None


async def test_a_frozen_server_does_not_make_it_wait_for_ever_and_is_asked_again_when_it_is_back(
    own: tuple[EmbeddedValkey, int], make: Callable[..., Kept]
) -> None:
    valkey, pid = own
    kept = make(valkey.url, timeout=0.5)
    await kept.store.execute("SET", NAME, b"picture")
    await kept.in_full("req_1")
    assert await kept.ask() is not None

    os.kill(pid, signal.SIGSTOP)
    frozen = await asyncio.gather(*(kept.ask(asks) for asks in (ASKS, FREE)))
    os.kill(pid, signal.SIGCONT)
    await until(lambda: kept.store.healthy)

    assert (frozen, await kept.ask(FREE)) == ([None, None], Admission((), [b"picture"]))


async def test_whoever_still_waits_when_the_store_is_closed_is_told(kept: Kept) -> None:
    waiting = [kept.start(ASKS), kept.start(FREE)]

    await kept.store.aclose()

    async with asyncio.timeout(PATIENCE):
        assert await asyncio.gather(*waiting) == [None, None]
