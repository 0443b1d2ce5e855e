"""What every limiter promises: the one on Redis, the same with Redis away, and the fake of the pipeline's tests."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.adapters.embedded import EmbeddedValkey
from gateway.adapters.limiter import RedisLimiter
from gateway.adapters.redis_store import RedisStore
from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import Caller, Terms
from gateway.core.limits import Admission, Standing
from gateway.ports import Limiter
from tests.fakes import FakeClock, FakeObserver, MemoryLimiter


@pytest.fixture(scope="module")
def valkey() -> Iterator[EmbeddedValkey]:
    with tempfile.TemporaryDirectory(prefix="valkey-") as folder:
        server = EmbeddedValkey(Path(folder), lambda: None)
        server.start()
        yield server
        server.stop()


@pytest.fixture(params=["fake", "redis", "redis-away"])
async def limiter(request: pytest.FixtureRequest, valkey: EmbeddedValkey, tmp_path: Path) -> AsyncIterator[Limiter]:
    if request.param == "fake":
        yield MemoryLimiter(FakeClock())
        return
    url = valkey.url if request.param == "redis" else f"unix://{tmp_path}/nobody"
    # A busy machine is no server that is away.
    store = RedisStore(url, lambda: None, timeout=10.0)
    if request.param == "redis":
        await store.execute("FLUSHALL")
    yield RedisLimiter(store, FakeObserver(), FakeClock())
    await store.aclose()


@pytest.fixture(params=["fake", "redis"])
async def finding(request: pytest.FixtureRequest, valkey: EmbeddedValkey) -> AsyncIterator[Limiter]:
    """A limiter that finds the pictures `a` and `b`."""
    kept = {"gw:{a}:image": b"picture a", "gw:{b}:image": b"picture b"}
    if request.param == "fake":
        yield MemoryLimiter(FakeClock(), kept=kept)
        return
    store = RedisStore(valkey.url, lambda: None, timeout=10.0)
    await store.execute("FLUSHALL")
    for name, value in kept.items():
        await store.execute("SET", name, value)
    yield RedisLimiter(store, FakeObserver(), FakeClock())
    await store.aclose()


def caller(key: Terms | None = None, team: Terms | None = None, name: str = "key") -> Caller:
    return Caller(name, "team", key or Terms(), team or Terms())


async def refusal(limiter: Limiter, asks: Caller, name: str = "refused", wanted: int = 1) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await limiter.admit(asks, name, wanted, None)
    return caught.value


async def admit_kept(limiter: Limiter, asks: Caller, *pictures: str) -> Admission | None:
    told: asyncio.Future[Admission | None] = asyncio.get_running_loop().create_future()
    limiter.kept_admission(asks, [f"gw:{{{picture}}}:image" for picture in pictures])(told.set_result)
    return await told


async def test_who_has_no_limits_is_let_in_and_told_of_none(limiter: Limiter) -> None:
    assert await limiter.admit(caller(), "a", 4, None) == Admission()
    looked = await limiter.admit(caller(), "a", 1, ["gw:{1}:image"])
    assert looked in (Admission((), [None]), Admission())  # the latter where the cache is away


async def test_requests_are_let_in_up_to_the_limit_and_told_where_they_stand(limiter: Limiter) -> None:
    asks = caller(Terms(rpm=2))

    first, second = [await limiter.admit(asks, name, 1, None) for name in ("a", "b")]
    error = await refusal(limiter, asks)

    assert first.standings == (Standing("requests", 2, 1, 60.0),)
    assert second.standings == (Standing("requests", 2, 0, 60.0),)
    assert (error.kind, error.message[:70]) == (
        Kind.RATE_LIMIT_EXCEEDED,
        "Rate limit reached for this key on requests per minute: limit 2. Pleas",
    )
    assert error.retry_after is not None
    assert 59 < error.retry_after <= 60
    assert [(standing.measure, standing.limit, standing.remaining) for standing in error.standings] == [
        ("requests", 2, 0)
    ]


async def test_the_tightest_of_key_and_team_is_told(limiter: Limiter) -> None:
    team = Terms(rpm=3, ipm=100)
    await limiter.admit(caller(team=team, name="other"), "a", 1, None)
    await limiter.admit(caller(team=team, name="other"), "b", 1, None)

    admission = await limiter.admit(caller(Terms(rpm=2, ipm=10), team), "c", 4, None)

    assert admission.standings == (Standing("requests", 3, 0, 60.0), Standing("images", 10, 6, 60.0))


async def test_all_or_nothing(limiter: Limiter) -> None:
    asks = caller(Terms(rpm=10, ipm=2), Terms(rpm=10, concurrency=1))
    await limiter.admit(asks, "a", 2, None)
    await limiter.release("a")

    errors = [await refusal(limiter, asks, f"refused {number}") for number in range(20)]
    admission = await limiter.admit(asks, "b", 0, None)

    assert {error.kind for error in errors} == {Kind.RATE_LIMIT_EXCEEDED}
    assert admission.standings[0].remaining == 8


async def test_the_same_request_again_takes_nothing_and_holds_what_it_held(limiter: Limiter) -> None:
    asks = caller(Terms(rpm=1, ipm=3, concurrency=1))

    admissions = [await limiter.admit(asks, "a", 3, None) for _ in range(3)]
    await refusal(limiter, asks)

    assert [admission.leased for admission in admissions] == [True, True, True]
    assert {standing.remaining for admission in admissions for standing in admission.standings} == {0}


@pytest.mark.parametrize("terms", [Terms(ipm=1), Terms(concurrency=1)], ids=["images", "concurrency"])
async def test_it_is_known_again_by_any_limit(limiter: Limiter, terms: Terms) -> None:
    asks = caller(terms)

    await limiter.admit(asks, "a", 1, None)
    await limiter.admit(asks, "a", 1, None)

    assert (await refusal(limiter, asks, "b")).kind is Kind.RATE_LIMIT_EXCEEDED


async def test_a_place_at_once_is_held_until_it_is_given_back(limiter: Limiter) -> None:
    asks, other = caller(Terms(concurrency=1), Terms(concurrency=2)), caller(team=Terms(concurrency=2), name="other")

    assert (await limiter.admit(asks, "a", 1, None)).leased
    error = await refusal(limiter, asks)
    assert (await limiter.admit(other, "b", 1, None)).leased
    full = await refusal(limiter, other)
    await limiter.release("a")
    await limiter.release("a")
    again = await limiter.admit(asks, "c", 1, None)

    assert (error.kind, error.retry_after, error.standings) == (Kind.RATE_LIMIT_EXCEEDED, 1.0, ())
    assert "this key on requests at once: limit 1." in error.message
    assert "this key's team on requests at once: limit 2." in full.message
    assert again.leased


async def test_what_draws_nothing_takes_no_place_and_no_image(limiter: Limiter) -> None:
    asks = caller(Terms(rpm=5, ipm=1, concurrency=1))
    await limiter.admit(asks, "a", 1, None)

    admission = await limiter.admit(asks, "b", 0, None)

    assert (admission.leased, [standing.remaining for standing in admission.standings]) == (False, [3, 0])


async def test_images_given_back_count_no_longer(limiter: Limiter) -> None:
    asks = caller(Terms(ipm=4), Terms(ipm=6))
    await limiter.admit(asks, "a", 4, None)

    await limiter.give_back(asks, "a", 1)
    await limiter.give_back(asks, "a", 2)
    await limiter.give_back(asks, "b", 1)
    admission = await limiter.admit(asks, "b", 3, None)
    await limiter.give_back(asks, "a", 10)
    await limiter.give_back(asks, "a", 1)
    await limiter.give_back(caller(), "a", 1)

    assert admission.standings == (Standing("images", 4, 0, 60.0),)
    assert (await limiter.admit(asks, "c", 1, None)).standings == (Standing("images", 4, 0, 60.0),)


@pytest.mark.parametrize(
    ("terms", "kind", "param", "words"),
    [
        pytest.param(Terms(ipm=3), Kind.INVALID_VALUE, "n", "this key on images per minute is 3", id="too-many-images"),
        pytest.param(Terms(ipm=0), Kind.INSUFFICIENT_QUOTA, None, "images per minute is 0", id="no-images"),
        pytest.param(Terms(rpm=0), Kind.INSUFFICIENT_QUOTA, None, "requests per minute is 0", id="no-requests"),
        pytest.param(Terms(concurrency=0), Kind.INSUFFICIENT_QUOTA, None, "at once is 0", id="none-at-once"),
    ],
)
async def test_what_never_fits_is_not_told_to_come_again(
    limiter: Limiter, terms: Terms, kind: Kind, param: str | None, words: str
) -> None:
    error = await refusal(limiter, caller(terms), wanted=4)

    assert (error.kind, error.param, error.kind.row.retry, error.retry_after) == (kind, param, False, None)
    assert words in error.message


async def primed(limiter: Limiter, asks: Caller) -> None:
    """Let the limiter be asked once in full, for something that takes nothing of key or team."""
    await limiter.admit(Caller("other", "other", asks.key_terms, asks.team_terms), "other", 0, None)


async def test_a_request_whose_pictures_are_all_kept_counts_as_ever(finding: Limiter) -> None:
    asks = caller(Terms(rpm=9, ipm=1), Terms(rpm=5, ipm=3, concurrency=1))
    await primed(finding, asks)

    one = await admit_kept(finding, asks, "a")
    both = await admit_kept(finding, asks, "a", "b")
    in_full = await finding.admit(asks, "c", 2, ["gw:{a}:image", "gw:{b}:image"])
    after = await admit_kept(finding, asks, "b")

    found: list[bytes | None] = [b"picture a", b"picture b"]
    told = [(Standing("requests", 5, remaining, 60.0), Standing("images", 1, 1, 0.0)) for remaining in (4, 3, 2, 1)]
    assert one == Admission(told[0], found[:1])
    assert both == Admission(told[1], found)
    assert in_full == Admission(told[2], found)
    assert after == Admission(told[3], found[1:])
    assert (await finding.admit(asks, "d", 1, None)).leased  # its image and its place were left


async def test_without_limits_kept_pictures_are_found_too(finding: Limiter) -> None:
    assert await admit_kept(finding, caller(), "a", "b") == Admission((), [b"picture a", b"picture b"])
    assert await admit_kept(finding, caller(), "a", "c") is None


async def test_kept_pictures_are_told_though_all_places_and_images_are_taken(finding: Limiter) -> None:
    asks = caller(Terms(rpm=9, ipm=1, concurrency=1))
    await finding.admit(asks, "a", 1, None)

    admission = await admit_kept(finding, asks, "a")

    assert admission is not None
    assert [(standing.measure, standing.remaining) for standing in admission.standings] == [
        ("requests", 7),
        ("images", 0),
    ]


async def test_where_a_picture_is_not_kept_nothing_is_taken(finding: Limiter) -> None:
    asks = caller(Terms(rpm=2, ipm=1, concurrency=1), Terms(rpm=2))
    await primed(finding, asks)

    assert [await admit_kept(finding, asks, *pictures) for pictures in (("a", "c"), ("c",), ("c", "b"))] == [None] * 3

    admission = await finding.admit(asks, "a", 1, ["gw:{a}:image", "gw:{c}:image"])
    assert admission.standings == (Standing("requests", 2, 1, 60.0), Standing("images", 1, 0, 60.0))
    assert (admission.found, admission.leased) == ([b"picture a", None], True)


@pytest.mark.parametrize(
    ("key", "team"), [(Terms(rpm=2), Terms(rpm=9)), (Terms(rpm=9), Terms(rpm=2)), (Terms(rpm=2), Terms(rpm=2))]
)
async def test_what_a_limit_refuses_is_not_told_and_takes_nothing(finding: Limiter, key: Terms, team: Terms) -> None:
    asks = caller(key, team)
    await primed(finding, asks)

    admissions = [await admit_kept(finding, asks, "a") for _ in range(4)]
    error = await refusal(finding, asks)

    assert [admission is not None for admission in admissions] == [True, True, False, False]
    assert (error.kind, [standing.remaining for standing in error.standings]) == (Kind.RATE_LIMIT_EXCEEDED, [0])


async def test_who_may_ask_nothing_is_not_told_of_kept_pictures(finding: Limiter) -> None:
    asks = caller(Terms(rpm=0))

    assert await admit_kept(finding, asks, "a") is None
    assert (await refusal(finding, asks)).kind is Kind.INSUFFICIENT_QUOTA


async def test_where_none_is_kept_it_is_let_in_in_full(limiter: Limiter) -> None:
    for asks in (caller(), caller(Terms(rpm=1, concurrency=1))):
        assert await admit_kept(limiter, asks, "a") is None
        found = (await limiter.admit(asks, "a", 1, ["gw:{a}:image"])).found
        assert found in ([None], None)  # the latter where the cache is away
