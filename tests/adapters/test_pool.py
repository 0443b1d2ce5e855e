"""Which key a call goes out on, and what workers tell each other of them."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from gateway.adapters.redis_store import RedisStore
from gateway.adapters.upstream import KeyPool
from gateway.core.errors import GatewayError, Kind, Said
from gateway.core.pool import PROBE_EVERY, PROBING, Cause
from tests.adapters.calling import NoStore, ids
from tests.fakes import FakeClock, until

ONE, TWO, THREE = "sk-one", "sk-two", "sk-three"
M = "dall-e-3-t2i"


def said(status: int, code: int | None = None, wait: float | None = None) -> GatewayError:
    kinds = {401: Kind.UPSTREAM_CREDENTIALS, 402: Kind.UPSTREAM_BALANCE, 429: Kind.UPSTREAM_RATE_LIMITED}
    error = GatewayError(kinds.get(status, Kind.UPSTREAM_UNKNOWN), "")
    error.said = Said(status, code, wait)
    return error


def pool_of(*secrets: str, clock: FakeClock | None = None, store: object = None) -> KeyPool:
    return KeyPool(secrets, store or NoStore(), clock or FakeClock(), lot=random.Random(302))  # type: ignore[arg-type]


def strike(pool: KeyPool, secret: str, error: GatewayError) -> Cause | None:
    """Let a call on this key fail."""
    lease = pool.lend(M, [id_ for id_, other in pool.secrets() if other != secret])
    pool.give_back(lease)
    return pool.failed(lease, error)


def states(pool: KeyPool) -> list[str]:
    return [str(status.cause or status.state) for status in pool.snapshot()]


def test_calls_spread_over_the_keys_by_what_is_in_flight() -> None:
    pool = pool_of(ONE, TWO, THREE)

    leases = [pool.lend(M) for _ in range(300)]

    counts = Counter(lease.id for lease in leases)
    assert max(counts.values()) - min(counts.values()) < 20
    assert [status.in_flight for status in pool.snapshot()] == [counts[id_] for id_ in ids(ONE, TWO, THREE)]
    for lease in leases:
        pool.give_back(lease)
    assert [status.in_flight for status in pool.snapshot()] == [0, 0, 0]


def test_a_key_named_twice_is_one() -> None:
    assert len(pool_of(ONE, ONE).snapshot()) == 1


def test_an_ejected_key_is_left_alone_then_tried_by_one_call_and_whole_when_that_works() -> None:
    clock = FakeClock()
    pool = pool_of(ONE, TWO, clock=clock)
    strike(pool, ONE, said(401))

    assert {pool.lend(M).id for _ in range(50)} == set(ids(TWO))
    clock.advance(PROBE_EVERY)
    tries = [pool.lend(M) for _ in range(50)]
    assert Counter(lease.id for lease in tries)[ids(ONE)[0]] == 1
    clock.advance(PROBING)
    again = [pool.lend(M) for _ in range(50)]
    assert Counter(lease.id for lease in again)[ids(ONE)[0]] == 1

    pool.worked(next(lease for lease in again if lease.secret == ONE))

    assert states(pool) == ["ok", "ok"]


def test_where_all_keys_are_refused_a_call_is_tried_on_one_and_what_was_mended_is_found_at_once() -> None:
    pool = pool_of(ONE, TWO)
    strike(pool, ONE, said(401))
    strike(pool, TWO, said(402))
    assert states(pool) == ["refused", "balance"]

    lease = pool.lend(M)
    with pytest.raises(GatewayError) as caught:
        pool.lend(M, [lease.id])
    pool.worked(lease)

    assert caught.value.kind is Kind.UPSTREAM_BALANCE
    assert states(pool).count("ok") == 1


def test_a_busy_pool_is_left_alone_until_the_soonest_key() -> None:
    clock = FakeClock()
    pool = pool_of(ONE, TWO, clock=clock)
    strike(pool, ONE, said(429, wait=9))
    strike(pool, TWO, said(429, wait=4))

    with pytest.raises(GatewayError) as caught:
        pool.lend(M)
    clock.advance(4)

    assert (caught.value.kind, caught.value.retry_after) == (Kind.UPSTREAM_RATE_LIMITED, 4)
    assert pool.lend(M).secret == TWO


def test_failing_keys_are_used_where_no_other_is_left() -> None:
    pool = pool_of(ONE, TWO)
    for _ in range(5):
        strike(pool, ONE, said(500))
    for _ in range(20):
        strike(pool, TWO, said(500))

    assert states(pool) == ["failing", "ok"]
    assert {pool.lend(M).secret for _ in range(20)} == {TWO}
    strike(pool, TWO, said(401))
    assert pool.lend(M).secret == ONE


def test_a_key_refused_for_one_model_serves_the_others() -> None:
    pool = pool_of(ONE, TWO)
    strike(pool, ONE, said(401, -10013))

    assert {pool.lend(M).secret for _ in range(20)} == {TWO}
    assert {pool.lend("other").secret for _ in range(40)} == {ONE, TWO}
    assert [(status.state, status.models) for status in pool.snapshot()] == [("ok", (M,)), ("ok", ())]


async def test_a_key_that_was_mended_is_taken_back_by_every_worker(store: RedisStore) -> None:
    first, second = (pool_of(ONE, TWO, store=store) for _ in range(2))
    strike(first, ONE, said(401))
    await first.share()
    await second.share()

    assert second.restore(ids(ONE)[0])
    assert not second.restore("k_00000000")
    await second.share()
    await first.share()

    assert states(first) == states(second) == ["ok", "ok"]


async def test_sharing_goes_on_whatever_happens(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(NoStore):
        async def execute(self, *command: str | bytes | float) -> object:
            raise RuntimeError("oops")

    pool = pool_of(ONE, store=Faulty())
    running = asyncio.ensure_future(pool.share_forever())
    await until(lambda: len(caplog.records) == 1)
    strike(pool, ONE, said(401))

    await until(lambda: len(caplog.records) >= 3)
    running.cancel()


async def test_workers_tell_each_other_and_a_late_one_learns(store: RedisStore) -> None:
    clock = FakeClock()
    first, second = (pool_of(ONE, TWO, clock=clock, store=store) for _ in range(2))
    for pool in (first, second):
        await pool.share()

    strike(first, ONE, said(401))
    await first.share()
    await second.share()
    late = pool_of(ONE, TWO, clock=clock, store=store)
    await late.share()

    assert states(first) == states(second) == states(late) == ["refused", "ok"]
    assert {second.lend(M).secret for _ in range(20)} == {TWO}
    assert ONE in {late.lend(M).secret for _ in range(20)}  # who starts anew tries it: it may have been mended


async def test_a_recovery_is_told_as_well_and_survives_a_redis_that_forgets(store: RedisStore, redis: Redis) -> None:
    clock = FakeClock()
    first, second = (pool_of(ONE, TWO, clock=clock, store=store) for _ in range(2))
    strike(first, ONE, said(401))
    await first.share()
    await second.share()
    clock.advance(PROBE_EVERY)
    lease = next(lease for lease in iter(lambda: second.lend(M), None) if lease.secret == ONE)
    second.worked(lease)

    await redis.flushall()
    await first.share()
    await second.share()
    await first.share()

    assert states(first) == states(second) == ["ok", "ok"]


async def test_what_is_kept_leaves_redis_by_itself_and_holds_no_key(store: RedisStore, redis: Redis) -> None:
    pool = pool_of(ONE, store=store)
    strike(pool, ONE, said(402))
    await pool.share()

    [name] = await redis.keys()
    assert name == f"gateway:upstream-key:{ids(ONE)[0]}".encode()
    assert 0 < await redis.ttl(name) <= 2 * 86_400
    assert "sk-" not in str(await redis.get(name))


@pytest.mark.parametrize("rubbish", [b"", b"{", b"[]", b'{"state": "gone"}', b'{"state": "ejected", "changed": 9e99}'])
async def test_rubbish_in_redis_is_not_believed_and_written_over(
    store: RedisStore, redis: Redis, rubbish: bytes
) -> None:
    pool = pool_of(ONE, TWO, store=store)
    await redis.set(f"gateway:upstream-key:{ids(ONE)[0]}", rubbish)

    await pool.share()
    assert states(pool) == ["ok", "ok"]
    strike(pool, ONE, said(401))
    await pool.share()

    assert "refused" in str(await redis.get(f"gateway:upstream-key:{ids(ONE)[0]}"))


async def test_without_redis_each_worker_knows_what_it_saw_and_tells_the_metric() -> None:
    told: dict[str, bool] = {}
    clock = FakeClock()
    pool = KeyPool([ONE, TWO], NoStore(), clock, lambda key, healthy: told.update({key: healthy}))

    strike(pool, ONE, said(429, wait=9))
    assert told == dict(zip(ids(ONE, TWO), [False, True], strict=True))
    await pool.share()
    assert told == dict(zip(ids(ONE, TWO), [False, True], strict=True))
    clock.advance(9)
    await pool.share()

    assert told == dict(zip(ids(ONE, TWO), [True, True], strict=True))


async def test_a_change_is_shared_at_once(open_store: Callable[[str], RedisStore], redis_url: str) -> None:
    clock = FakeClock()
    first, second = (pool_of(ONE, TWO, clock=clock, store=open_store(redis_url)) for _ in range(2))
    running = [asyncio.ensure_future(pool.share_forever()) for pool in (first, second)]

    strike(first, ONE, said(401))
    await until(lambda: states(second) == ["refused", "ok"])

    for task in running:
        task.cancel()


def test_a_change_is_logged_by_the_keys_public_id(caplog: pytest.LogCaptureFixture) -> None:
    strike(pool_of(ONE, TWO), ONE, said(401))

    assert caplog.messages == [f"key {ids(ONE)[0]}: ok -> refused"]
