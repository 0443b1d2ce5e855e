"""The limiter on a real Valkey: exact whoever asks at once, heals itself, and limits alone while the server is away."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.adapters.embedded import EmbeddedValkey
from gateway.adapters.limiter import LimiterOptions, RedisLimiter
from gateway.adapters.redis_store import RedisStore
from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import Caller, Terms
from gateway.core.limits import Admission
from tests.adapters.errors import Errors
from tests.fakes import FakeClock, FakeObserver, Recorder, until

Open = Callable[..., RedisStore]
Make = Callable[..., RedisLimiter]

ALL = Terms(rpm=50, ipm=60, concurrency=40)
NAME = "gw:{1}:image"
PATIENCE = 10.0  # a busy machine is no server that is away
OTHER_NAME = "gw:{2}:image"


@pytest.fixture
def record() -> Recorder:
    return Recorder()


@pytest.fixture
def make(redis_url: str, redis: Redis, open_store: Open, record: Recorder) -> Make:
    """A limiter with connections of its own, like a worker has."""

    def make(url: str = redis_url, timeout: float = PATIENCE, **options: float) -> RedisLimiter:
        store = open_store(url, timeout)
        return RedisLimiter(store, FakeObserver(record), FakeClock(), LimiterOptions(**options))  # type: ignore[arg-type]

    return make


def caller(key: Terms | None = None, team: Terms | None = None, name: str = "key") -> Caller:
    return Caller(name, "team", key or Terms(), team or Terms())


async def ask(
    limiter: RedisLimiter, asks: Caller, name: str, wanted: int = 1, lookups: Sequence[str] | None = None
) -> Admission | GatewayError:
    try:
        return await limiter.admit(asks, name, wanted, lookups)
    except GatewayError as error:
        return error


def let_in(answers: Sequence[Admission | GatewayError]) -> int:
    return sum(isinstance(answer, Admission) for answer in answers)


async def books(redis: Redis) -> dict[str, int]:
    """How much of each limit is used, by its key."""
    keys = sorted(str(key, "utf-8") for key in await redis.keys("gw:*:limit:*") if isinstance(key, bytes))
    return {key: await used(redis, key) for key in keys if ":took:" not in key}


async def used(redis: Redis, key: str) -> int:
    if ":concurrency:" in key:
        return int(await redis.zcard(key))
    value = await redis.get(key)
    assert isinstance(value, bytes)
    slots = [value[at + 6 : at + 10] for at in range(6, len(value), 10)]
    assert int.from_bytes(value[:6], "big") == sum(int.from_bytes(amount, "big") for amount in slots)
    return int.from_bytes(value[:6], "big")


async def wait_of(limiter: RedisLimiter, asks: Caller, name: str = "refused", wanted: int = 1) -> float:
    error = await ask(limiter, asks, name, wanted)
    assert isinstance(error, GatewayError)
    assert error.retry_after is not None
    return error.retry_after


@pytest.mark.parametrize(
    ("key", "team", "wanted", "most"),
    [
        pytest.param(Terms(rpm=37), Terms(), 1, 37, id="requests-of-the-key"),
        pytest.param(Terms(rpm=300), Terms(rpm=41), 1, 41, id="requests-of-the-team"),
        pytest.param(Terms(ipm=59), Terms(rpm=200), 4, 14, id="images"),
        pytest.param(Terms(concurrency=23), Terms(ipm=200), 1, 23, id="at-once"),
        pytest.param(ALL, ALL, 2, 30, id="all"),
    ],
)
async def test_exactly_as_many_are_let_in_of_200_at_once(
    make: Make, redis: Redis, errors: Errors, key: Terms, team: Terms, wanted: int, most: int
) -> None:
    workers = [make() for _ in range(4)]
    asks = caller(key, team)

    answers = await asyncio.gather(*(ask(workers[number % 4], asks, f"req_{number}", wanted) for number in range(200)))

    assert (let_in(answers), errors.count) == (most, 0)
    for name, entries in (await books(redis)).items():
        assert entries == (most * wanted if ":images:" in name else most)
        assert 0 < await redis.pttl(name) <= (15_000 if ":concurrency:" in name else 60_000)


async def test_keys_of_one_team_share_its_limits_and_their_slot(make: Make, redis: Redis) -> None:
    limiter, team = make(), Terms(rpm=3)

    for number in range(3):
        await limiter.admit(caller(Terms(rpm=2), team, f"key{number}"), f"req_{number}", 1, None)
    refused = await ask(limiter, caller(Terms(rpm=2), team, "key4"), "req_4")
    elsewhere = await ask(limiter, Caller("key0", "other", Terms(rpm=2), team), "req_5")

    assert isinstance(refused, GatewayError)
    assert isinstance(elsewhere, Admission)
    assert [name for name in await books(redis) if "{other}" not in name] == [
        "gw:{team}:limit:window:requests:key:key0",
        "gw:{team}:limit:window:requests:key:key1",
        "gw:{team}:limit:window:requests:key:key2",
        "gw:{team}:limit:window:requests:team",
    ]
    names = [str(name, "utf-8") for name in await redis.keys("*") if isinstance(name, bytes)]
    assert all(name.startswith(("gw:{team}:limit:", "gw:{other}:limit:")) for name in names)


async def test_a_refusal_writes_nothing_and_is_counted_by_its_limit(make: Make, redis: Redis, record: Recorder) -> None:
    limiter, asks = make(), caller(Terms(rpm=9), Terms(ipm=1, concurrency=9))
    await limiter.admit(asks, "req_1", 1, None)
    before = {key: await redis.dump(key) for key in await redis.keys("*")}

    answers = [await ask(limiter, asks, f"req_{number}") for number in range(2, 20)]

    assert let_in(answers) == 0
    assert before == {key: await redis.dump(key) for key in await redis.keys("*")}
    assert set((await books(redis)).values()) == {1}
    assert set(record.verbs) == {"limited team team_images"}


async def test_a_retry_after_really_fits_and_no_sooner(make: Make) -> None:
    window = 4.0  # so long that none of it lapses meanwhile, however slow the machine
    limiter, asks = make(window=window), caller(Terms(rpm=9), Terms(ipm=5))
    moments = []
    for number in range(5):
        moments.append(time.monotonic())
        await limiter.admit(asks, f"req_{number}", 1, None)
        await asyncio.sleep(0.15)

    asked = time.monotonic()
    wait = await wait_of(limiter, asks, wanted=3)
    shorter = await wait_of(limiter, asks, wanted=1)
    asking = time.monotonic() - asked
    await asyncio.sleep(wait)
    fits = await ask(limiter, asks, "req_6", 3)

    # From the first image to the third, and what this machine took to ask, to the nearest slot.
    assert 0.2 <= wait - shorter <= moments[3] - moments[0] + asking + window / 60
    assert isinstance(fits, Admission)
    assert isinstance(await ask(limiter, asks, "req_7", 3), GatewayError)


async def test_the_longest_wait_of_all_is_told(make: Make, record: Recorder) -> None:
    limiter, asks = make(window=5), caller(Terms(rpm=2), Terms(rpm=2, concurrency=1))
    await limiter.admit(asks, "req_1", 1, None)

    full = await wait_of(limiter, asks)
    await limiter.release("req_1")
    await limiter.admit(asks, "req_2", 1, None)
    both = await wait_of(limiter, asks)

    assert full == 1
    assert 4 < both <= 5
    assert record.verbs == ["limited team team_concurrency", "limited team key_requests"]


async def test_a_window_slides_and_sweeps_what_has_lapsed(make: Make, redis: Redis) -> None:
    limiter, asks = make(window=0.2), caller(Terms(rpm=150))
    await asyncio.gather(*(ask(limiter, asks, f"req_{number}") for number in range(150)))
    assert await wait_of(limiter, asks) <= 0.2
    await redis.persist("gw:{team}:limit:window:requests:key:key")
    await asyncio.sleep(0.21)

    first = await limiter.admit(asks, "again_1", 1, None)
    await limiter.admit(asks, "again_2", 1, None)

    assert first.standings[0].remaining == 149
    assert list((await books(redis)).values()) == [2]


async def test_a_window_costs_the_same_however_much_is_let_in(make: Make, redis: Redis) -> None:
    limiter, asks = make(window=3), caller(Terms(rpm=1_000_000), Terms(ipm=1_000_000))

    for number in range(1500):
        await limiter.admit(asks, f"req_{number}", 3, None)

    assert 6 < await redis.strlen("gw:{team}:limit:window:requests:key:key") <= 6 + 62 * 10
    assert 6 < await redis.strlen("gw:{team}:limit:window:images:team") <= 6 + 62 * 10
    both = await books(redis)
    assert both["gw:{team}:limit:window:images:team"] == 3 * both["gw:{team}:limit:window:requests:key:key"]


async def test_lapsed_leases_are_swept(make: Make, redis: Redis) -> None:
    limiter, asks, key = make(), caller(Terms(concurrency=200)), "gw:{team}:limit:concurrency:key:key"
    await redis.zadd(key, {f"dead_{number}": 0 for number in range(150)})

    swept = []
    for name in ("req_1", "req_2"):
        await limiter.admit(asks, name, 1, None)
        swept.append(await redis.zcard(key))

    assert swept == [51, 2]


async def test_images_are_given_back_where_they_were_taken(make: Make, redis: Redis) -> None:
    limiter, asks = make(window=12), caller(Terms(ipm=4))
    await limiter.admit(asks, "req_1", 2, None)
    await asyncio.sleep(0.3)
    await limiter.admit(asks, "req_2", 2, None)

    await limiter.give_back(asks, "req_2", 1)
    wait = await wait_of(limiter, asks, "req_3", wanted=2)
    await limiter.give_back(asks, "req_1", 2)

    assert wait <= 11.7  # one of the first two must lapse, not of the second
    assert list((await books(redis)).values()) == [1]


async def test_what_was_taken_a_window_ago_is_not_given_back(make: Make, redis: Redis) -> None:
    limiter, asks = make(window=0.5), caller(Terms(ipm=4))
    await limiter.admit(asks, "req_1", 3, None)
    await asyncio.sleep(0.51)
    await limiter.admit(asks, "req_2", 3, None)
    await redis.persist("gw:{team}:limit:window:images:key:key")

    await limiter.give_back(asks, "req_1", 3)

    assert list((await books(redis)).values()) == [3]


async def test_a_request_that_wants_no_image_is_not_noted_and_counts_each_time(make: Make, redis: Redis) -> None:
    limiter, asks = make(), caller(Terms(rpm=9, ipm=9))

    for _ in range(2):
        await limiter.admit(asks, "req_1", 0, None)

    assert await redis.keys("gw:*:took:*") == []
    assert (await books(redis))["gw:{team}:limit:window:requests:key:key"] == 2


async def test_a_lowered_limit_refuses_until_enough_has_lapsed(make: Make) -> None:
    limiter = make(window=0.3)
    for number in range(5):
        await limiter.admit(caller(Terms(rpm=5)), f"req_{number}", 1, None)

    wait = await wait_of(limiter, caller(Terms(rpm=2)))
    await asyncio.sleep(wait)

    assert isinstance(await ask(limiter, caller(Terms(rpm=2)), "req_6"), Admission)


async def test_look_ups_ride_along_and_what_is_there_is_no_image(make: Make, redis: Redis) -> None:
    limiter, asks = make(), caller(Terms(rpm=9, ipm=9, concurrency=9))
    await redis.set(NAME, b"picture \xff")

    hit = await limiter.admit(asks, "req_1", 9, [NAME])
    some = await limiter.admit(asks, "req_2", 9, [NAME, OTHER_NAME])

    assert (hit.found, hit.leased, hit.standings[1].remaining) == ([b"picture \xff"], False, 9)
    assert some.found == [b"picture \xff", None]
    assert (some.leased, some.standings[1].remaining) == (True, 8)


async def test_pictures_on_another_server_are_looked_up_first(
    make: Make, redis: Redis, redis_url: str, open_store: Open
) -> None:
    store, cache = open_store(redis_url, PATIENCE), open_store(f"{redis_url}?db=1", PATIENCE)
    limiter = RedisLimiter(store, FakeObserver(), FakeClock(), cache=cache)
    other = Redis.from_url(f"{redis_url}?db=1")
    await other.set(NAME, b"picture")
    await other.aclose()

    admission = await limiter.admit(caller(Terms(ipm=9)), "req_1", 9, [NAME, OTHER_NAME])
    free = await limiter.admit(caller(), "req_1", 9, [NAME])

    assert (admission.found, admission.standings[0].remaining) == ([b"picture", None], 8)
    assert free.found == [b"picture"]


async def test_a_place_of_a_dead_worker_is_free_when_its_lease_ends(make: Make) -> None:
    dead, living, asks = make(lease=0.2), make(lease=0.2), caller(Terms(concurrency=1))
    await dead.admit(asks, "req_1", 1, None)
    assert isinstance(await ask(living, asks, "req_2"), GatewayError)

    await asyncio.sleep(0.21)

    assert isinstance(await ask(living, asks, "req_3"), Admission)


async def test_places_that_are_renewed_stay(make: Make, redis: Redis) -> None:
    worker, other = make(lease=0.3), make(lease=0.3)
    callers = [Caller(f"key{n}", "team", Terms(concurrency=2), Terms(concurrency=2)) for n in range(2)]
    renewing = asyncio.create_task(worker.renew_forever())
    for number, asks in enumerate(callers):
        await worker.admit(asks, f"req_{number}", 1, None)

    await asyncio.sleep(0.7)
    refused = await ask(other, callers[0], "req_3")
    await worker.release("req_0")
    admitted = await ask(other, callers[0], "req_4")
    renewing.cancel()
    await asyncio.sleep(0.31)

    assert isinstance(refused, GatewayError)
    assert isinstance(admitted, Admission)
    assert await books(redis) == {}


async def test_a_release_overtaken_by_its_renewal_leaves_no_place(make: Make, redis: Redis) -> None:
    worker, asks = make(), caller(Terms(concurrency=1))
    await worker.admit(asks, "req_1", 1, None)
    renewing = asyncio.create_task(worker.renew())
    await asyncio.sleep(0)
    worker._windows.release("req_1")
    await renewing

    assert await books(redis) == {}


async def test_thousands_of_places_are_renewed(make: Make, redis: Redis) -> None:
    worker, asks = make(), caller(Terms(concurrency=3000))
    await asyncio.gather(*(ask(worker, asks, f"req_{number}") for number in range(2500)))
    held = sum(1 for _ in worker._windows._holders)
    await redis.flushall()

    await worker.renew()

    assert list((await books(redis)).values()) == [held]
    assert held > 2000


async def test_a_flushed_script_is_sent_again(make: Make, redis: Redis, errors: Errors) -> None:
    limiter, asks = make(), caller(Terms(rpm=100))
    await limiter.admit(asks, "req_1", 1, None)
    await redis.script_flush()

    answers = await asyncio.gather(*(ask(limiter, asks, f"req_{number}") for number in range(2, 60)))

    assert (let_in(answers), errors.count) == (58, 0)
    assert await books(redis) == {"gw:{team}:limit:window:requests:key:key": 59}


async def test_an_emptied_server_only_forgets(make: Make, redis: Redis, errors: Errors) -> None:
    limiter, asks = make(), caller(Terms(rpm=5, concurrency=1))
    await limiter.admit(asks, "req_1", 1, None)
    await redis.flushall()

    again = await ask(limiter, asks, "req_2")
    await limiter.release("req_1")
    await limiter.release("req_2")

    assert isinstance(again, Admission)
    assert again.standings[0].remaining == 4
    assert isinstance(await ask(limiter, asks, "req_3"), Admission)
    assert errors.count == 0


async def test_what_somebody_else_wrote_under_our_keys_goes(make: Make, redis: Redis, errors: Errors) -> None:
    limiter, asks = make(), caller(ALL, ALL)
    await limiter.admit(asks, "req_1", 1, None)
    for name in await books(redis):
        await redis.delete(name)
        await redis.set(name, "a string")

    assert isinstance(await ask(limiter, asks, "req_2"), Admission)
    assert set((await books(redis)).values()) == {1}
    assert errors.count == 0


async def test_a_script_that_fails_is_only_its_own_and_leaves_the_limits_to_the_worker(
    make: Make, redis: Redis, errors: Errors
) -> None:
    limiter, asks = make(workers=2), caller(Terms(rpm=4))
    await redis.set(NAME, b"picture")
    limiter._script = "#!lua\nreturn redis.error_reply('broken')"  # type: ignore[misc]

    answers = [await ask(limiter, asks, f"req_{number}", 1, [NAME]) for number in range(4)]

    assert [answer.found for answer in answers if isinstance(answer, Admission)] == [[b"picture"]] * 2
    assert (errors.count, limiter._store.healthy) == (4, True)  # type: ignore[attr-defined]


async def test_a_full_server_still_finds_pictures_and_the_worker_limits(
    make: Make, redis: Redis, errors: Errors
) -> None:
    limiter, asks = make(), caller(Terms(rpm=2, ipm=2))
    await limiter.admit(asks, "req_1", 1, None)
    await redis.set(NAME, b"picture")
    await redis.config_set("maxmemory", "1")
    try:
        answers = [await ask(limiter, asks, f"req_{number}", 1, [NAME]) for number in range(2, 5)]
    finally:
        await redis.config_set("maxmemory", "0")

    assert [answer.found for answer in answers if isinstance(answer, Admission)] == [[b"picture"]] * 2
    assert await books(redis) == {
        f"gw:{{team}}:limit:window:{measure}:key:key": 1 for measure in ("images", "requests")
    }
    assert errors.count == 3


async def test_a_frozen_server_leaves_each_worker_its_share_until_it_is_back(
    own: tuple[EmbeddedValkey, int], make: Make, errors: Errors
) -> None:
    valkey, pid = own
    limiter, asks = make(valkey.url, timeout=0.5, workers=4), caller(Terms(rpm=20, ipm=40), Terms(concurrency=16))
    await limiter.admit(asks, "req_0", 1, [NAME])
    await limiter.release("req_0")

    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    answers = [await ask(limiter, asks, f"away_{number}", 1, [NAME]) for number in range(30)]
    took = time.monotonic() - started
    os.kill(pid, signal.SIGCONT)
    await until(lambda: limiter._store.healthy)  # type: ignore[attr-defined]
    back = await ask(limiter, asks, "req_1", 1, [NAME])

    # The places at once are fewest: 16 of four workers.
    assert (let_in(answers), errors.count) == (4, 1)
    assert took < 2
    assert {answer.kind for answer in answers if isinstance(answer, GatewayError)} == {Kind.RATE_LIMIT_EXCEEDED}
    assert isinstance(back, Admission)
    # The request whose answer was lost may have been let in by the server too.
    assert back.standings[0].remaining in {18, 17}


async def test_places_taken_alone_are_given_back_alone_and_told_to_the_server_when_it_is_back(
    make: Make, redis_url: str, tmp_path: Path
) -> None:
    socket = tmp_path / "valkey.sock"
    limiter, asks = make(f"unix://{socket}"), caller(Terms(concurrency=2))

    answers = [await ask(limiter, asks, f"req_{number}") for number in range(3)]
    await limiter.release("req_0")
    again = await ask(limiter, asks, "req_3")
    await limiter.give_back(asks, "req_3", 1)
    await limiter.renew()

    assert (let_in(answers), isinstance(again, Admission)) == (2, True)
    socket.symlink_to(redis_url.removeprefix("unix://"))
    await until(lambda: limiter._store.healthy)  # type: ignore[attr-defined]
    await limiter.renew()
    assert isinstance(await ask(make(), asks, "req_4"), GatewayError)


async def test_a_killed_server_costs_no_request(own: tuple[EmbeddedValkey, int], make: Make) -> None:
    valkey, pid = own
    limiter, asks = make(valkey.url), caller(Terms(rpm=1000, concurrency=1000))
    asking = [asyncio.create_task(ask(limiter, asks, f"req_{number}")) for number in range(50)]
    await asyncio.sleep(0)

    os.kill(pid, signal.SIGKILL)
    answers = [*await asyncio.gather(*asking), *[await ask(limiter, asks, f"later_{number}") for number in range(20)]]

    assert let_in(answers) == 70


async def test_callers_that_nobody_can_count_are_forgotten(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.adapters.limiter._MOST_CALLERS", 3)
    limiter = make()

    for number in range(10):
        await limiter.admit(Caller(f"key{number}", "team", Terms(rpm=1)), f"req_{number}", 1, None)

    assert len(limiter._books) <= 3
