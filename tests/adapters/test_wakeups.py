"""Words between workers on a real Valkey: who waits hears them, and who does not is not disturbed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
from redis.asyncio import Redis

from gateway.adapters.redis_store import RedisStore
from gateway.adapters.wakeups import RedisWakeups

FOREVER = 60.0
LONG = 10.0


class Worker:
    """A worker's side of it, which listens."""

    def __init__(self, store: RedisStore) -> None:
        self.wakeups = RedisWakeups(store)
        self.heard: list[str] = []
        self.listening = asyncio.get_running_loop().create_task(store.listen(self._hear))

    def _hear(self, channel: str) -> None:
        self.heard.append(channel)
        self.wakeups.heard(channel)

    def waiting(self, name: str) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(self.wakeups.wait(name, FOREVER))


@pytest.fixture
async def workers(
    redis: Redis, redis_url: str, open_store: Callable[..., RedisStore]
) -> AsyncIterator[tuple[Worker, Worker]]:
    pair = Worker(open_store(redis_url)), Worker(open_store(redis_url))
    yield pair
    for worker in pair:
        worker.listening.cancel()
        with suppress(asyncio.CancelledError):
            await worker.listening


async def until_waited_for(redis: Redis, name: str, by: int) -> None:
    """Until so many workers listen for a name."""
    async with asyncio.timeout(LONG):
        while (await redis.pubsub_numsub(f"gw:done:{name}"))[0][1] != by:  # noqa: ASYNC110 - the server tells no event
            await asyncio.sleep(0.001)


async def test_who_waits_on_another_worker_is_woken(redis: Redis, workers: tuple[Worker, Worker]) -> None:
    first, second = workers
    waiting = [second.waiting("a"), second.waiting("a"), second.waiting("b")]
    await until_waited_for(redis, "a", 1)

    first.wakeups.tell("a")
    async with asyncio.timeout(LONG):
        await asyncio.gather(*waiting[:2])

    assert not waiting[2].done()
    first.wakeups.tell("b")
    async with asyncio.timeout(LONG):
        await waiting[2]


async def test_who_waits_here_is_woken_without_redis(workers: tuple[Worker, Worker]) -> None:
    worker = workers[0]
    worker.listening.cancel()
    await asyncio.wait([worker.listening], timeout=LONG)
    waiting = worker.waiting("a")
    await asyncio.sleep(0)

    worker.wakeups.tell("a")

    async with asyncio.timeout(LONG):
        await waiting


async def test_nobody_hears_of_what_nobody_waits_for(redis: Redis, workers: tuple[Worker, Worker]) -> None:
    first, second = workers
    waiting = second.waiting("a")
    await until_waited_for(redis, "a", 1)

    first.wakeups.tell("other")
    first.wakeups.tell("a")
    async with asyncio.timeout(LONG):
        await waiting

    assert (first.heard, second.heard) == ([], ["gw:done:a"])
    await until_waited_for(redis, "a", 0)


async def test_a_connection_that_was_cut_listens_again(redis: Redis, workers: tuple[Worker, Worker]) -> None:
    first, second = workers
    waiting = second.waiting("a")
    await until_waited_for(redis, "a", 1)

    killed = await redis.client_kill_filter(_type="pubsub")
    async with asyncio.timeout(LONG):
        while not waiting.done():  # what is told before it listens again is lost
            first.wakeups.tell("a")
            await asyncio.wait([waiting], timeout=0.05)

    assert killed == len(workers)


async def test_a_word_that_never_comes_is_waited_for_no_longer_than_told(workers: tuple[Worker, Worker]) -> None:
    async with asyncio.timeout(LONG):
        await workers[0].wakeups.wait("a", 0.01)


async def test_listening_ends_when_it_is_told_to_however_far_it_has_come(
    redis_url: str, open_store: Callable[..., RedisStore]
) -> None:
    for turns in range(30):
        listening = asyncio.get_running_loop().create_task(open_store(redis_url).listen(lambda _: None))
        for _ in range(turns):
            await asyncio.sleep(0)
        listening.cancel()
        await asyncio.wait([listening], timeout=LONG)

        assert listening.done()


async def test_who_is_alone_wakes_those_who_wait_here() -> None:
    wakeups = RedisWakeups(None)
    waiting = [asyncio.get_running_loop().create_task(wakeups.wait(name, FOREVER)) for name in ("a", "a", "b")]
    await asyncio.sleep(0)

    wakeups.tell("a")
    async with asyncio.timeout(LONG):
        await asyncio.gather(*waiting[:2])

    assert not waiting[2].done()
    wakeups.tell("b")
    async with asyncio.timeout(LONG):
        await waiting[2]
