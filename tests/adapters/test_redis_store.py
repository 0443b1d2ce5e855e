"""The store on a real Valkey: answers never cross, failures are quick and told, and it comes back by itself."""

import asyncio
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from redis.asyncio import Redis, RedisCluster

from gateway.adapters.embedded import EmbeddedValkey
from gateway.adapters.redis_client import Master, Pipelines, connect
from gateway.adapters.redis_link import Link
from gateway.adapters.redis_store import TIMEOUT, RedisStore
from gateway.ports import StoreUnavailableError
from tests.adapters.errors import Errors
from tests.fakes import until

Open = Callable[..., RedisStore]


@pytest.fixture(params=["", "?health_check_interval=0"], ids=["link", "redis-py"])
def how(request: pytest.FixtureRequest) -> str:
    """What is put behind a URL; what is more than an address goes through redis-py."""
    return str(request.param)


@pytest.fixture
def store(redis: Redis, redis_url: str, how: str, open_store: Open) -> RedisStore:
    return open_store(redis_url + how)


async def test_it_runs_commands_and_looks_up(store: RedisStore, errors: Errors) -> None:
    assert await store.execute("SET", "a", b"\x00\xff", "EX", 100) in (True, b"OK")
    assert await store.execute("GET", "a") == b"\x00\xff"
    assert await store.look_up("a", "b") == [b"\x00\xff", None]
    assert 0 < int(str(await store.execute("TTL", "a"))) <= 100
    assert (store.healthy, errors.count) == (True, 0)


def crossed(answers: Sequence[object], right: Sequence[object]) -> list[tuple[object, object]]:
    """Answers that belong to somebody else. On a busy machine there may be none in time, and that is told."""
    none = asyncio.CancelledError | StoreUnavailableError
    pairs = zip(answers, right, strict=True)
    return [(answer, own) for answer, own in pairs if answer != own and not isinstance(answer, none)]


async def test_a_thousand_at_once_get_each_its_own_answer(store: RedisStore, redis: Redis) -> None:
    await redis.mset({f"k{number}": str(number) for number in range(500)})

    lookups = [store.look_up(f"k{number}", f"k{number + 1000}") for number in range(500)]
    commands = [store.execute("ECHO", str(number)) for number in range(500)]
    answers = await asyncio.gather(*lookups, *commands, return_exceptions=True)

    right = [*([str(n).encode(), None] for n in range(500)), *(str(n).encode() for n in range(500))]
    assert crossed(answers, right) == []


async def test_cancelled_waiters_never_cross_the_answers_of_others(store: RedisStore, redis: Redis) -> None:
    await redis.mset({f"k{number}": str(number) for number in range(200)})
    right = [[str(number).encode()] for number in range(200)] * 2
    lot = random.Random(302)

    for _ in range(20):
        await until(lambda: store.healthy)
        tasks: list[asyncio.Future[object]] = [asyncio.ensure_future(store.look_up(f"k{n}")) for n in range(200)]
        tasks += [asyncio.ensure_future(_listed(store, number)) for number in range(200)]
        for _ in range(lot.randint(0, 4)):
            await asyncio.sleep(0)
        for task in lot.sample(tasks, 150):
            task.cancel()
        assert crossed(await asyncio.gather(*tasks, return_exceptions=True), right) == []


async def _listed(store: RedisStore, number: int) -> list[object]:
    return [await store.execute("GET", f"k{number}")]


async def test_an_error_of_one_command_is_its_own(store: RedisStore, redis: Redis, errors: Errors) -> None:
    await redis.set("text", "x")

    wrong, right = await asyncio.gather(
        store.execute("LPUSH", "text", "y"), store.execute("GET", "text"), return_exceptions=True
    )

    assert isinstance(wrong, StoreUnavailableError)
    assert (right, errors.count, store.healthy) == (b"x", 1, True)


async def test_nobody_there_is_told_at_once(errors: Errors, open_store: Open, how: str, tmp_path: Path) -> None:
    store = open_store(f"unix://{tmp_path}/nobody{how}")

    for _ in range(5):
        with pytest.raises(StoreUnavailableError):
            await store.execute("PING")
        with pytest.raises(StoreUnavailableError):
            await store.look_up("a")

    assert (store.healthy, errors.count) == (False, 1)


async def test_a_frozen_server_costs_a_tenth_of_a_second_once_and_its_late_answers_go_to_nobody(
    own: tuple[EmbeddedValkey, int], open_store: Open, how: str
) -> None:
    valkey, pid = own
    store = open_store(valkey.url + how)
    for number in range(20):
        await store.execute("SET", f"k{number}", str(number))

    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    first = await asyncio.gather(*(store.look_up(f"k{number}") for number in range(10)), return_exceptions=True)
    waited = time.monotonic() - started
    started = time.monotonic()
    later = await asyncio.gather(*(store.execute("GET", "k1") for _ in range(100)), return_exceptions=True)
    after = time.monotonic() - started
    os.kill(pid, signal.SIGCONT)
    await until(lambda: store.healthy)
    answers = [await store.look_up(f"k{number}") for number in range(10, 20)]

    assert {type(error) for error in (*first, *later)} == {StoreUnavailableError}
    assert waited > TIMEOUT / 2
    assert after < waited
    assert answers == [[str(number).encode()] for number in range(10, 20)]


async def test_it_is_found_again_after_a_restart(open_store: Open, how: str) -> None:
    with tempfile.TemporaryDirectory(prefix="valkey-") as folder:
        valkey = EmbeddedValkey(Path(folder), lambda: None)
        store = open_store(valkey.url + how)
        with pytest.raises(StoreUnavailableError):
            await store.execute("PING")

        valkey.start()
        await until(lambda: store.healthy)

        assert await store.execute("PING") in (b"PONG", True)
        valkey.stop()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        pytest.param("", "no://", id="nothing"),
        pytest.param("localhost:6379", "localhost://", id="no-scheme"),
        pytest.param("http://:secret@localhost", "http://", id="http"),
        pytest.param("redis+sentinel://:secret@localhost:1", "Sentinel", id="sentinel-without-service"),
        pytest.param("redis+sentinel://:secret@localhost/service", "Sentinel", id="sentinel-without-port"),
    ],
)
def test_a_wrong_url_is_told_without_its_password(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        connect(url)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "client", "carrier"),
    [
        pytest.param("redis://localhost:1/2", Redis, Link, id="redis"),
        pytest.param("redis://localhost:1/2?client_name=me", Redis, Pipelines, id="with-options"),
        pytest.param("rediss://:pass@localhost:1", Redis, Pipelines, id="tls"),
        pytest.param("unix:///tmp/nobody", Redis, Link, id="unix"),
        pytest.param("redis+sentinel://user:pass@localhost:1,127.0.0.1:2/service", Master, Pipelines, id="sentinel"),
        pytest.param("redis+cluster://localhost:1", RedisCluster, Pipelines, id="cluster"),
    ],
)
async def test_every_kind_of_redis_has_its_client_and_says_when_it_is_away(
    url: str, client: type, carrier: type, open_store: Open
) -> None:
    store = open_store(url)

    assert (type(store._client), type(store._carrier)) == (client, carrier)
    async with asyncio.timeout(20):
        with pytest.raises(StoreUnavailableError):
            await store.execute("PING")
    assert not store.healthy
