"""The steps of a request as a transcript: everything that was asked of the world, whole and in order."""

import asyncio

import msgspec
import orjson
import pytest

from gateway.core.catalogue import Catalogue
from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import Caller, Terms
from gateway.core.ledger import Draft, Generation
from gateway.core.order import Answer, Asked, Options, Order
from tests.fakes import Recorder, reading, until
from tests.world import FIRST, MODEL, SECOND, World

BYTES = {"response_format": "b64_json"}


@pytest.fixture
def world(catalogue: Catalogue) -> World:
    return World(catalogue)


def words(answer: Answer) -> list[str]:
    return [picture.cache.word for picture in answer.pictures]


MISS = [
    *["read", "admit", "reserve", f"send {MODEL}", "upstream ok", "paid 40000"],
    *["keep", "end succeeded"],  # it is kept while the ledger is written
]


async def test_a_miss_is_sent_paid_and_kept(world: World) -> None:
    answer = await world.ask()

    assert world.transcript() == MISS
    assert (words(answer), answer.pictures[0].stored) == (["miss"], True)
    assert answer.pictures[0].url == "https://pictures.example/1.png"
    assert world.outcome.upstream_request_ids == ("302-1",)


async def test_a_hit_is_looked_up_and_nothing_else(world: World) -> None:
    await world.ask()
    world.transcript()
    world.clock.advance(100)

    answer = await world.ask()

    assert world.transcript() == ["read", "admit"]
    assert (words(answer), answer.pictures[0].ttl) == (["hit"], 3500)
    assert answer.pictures[0].url == "https://pictures.example/1.png"


async def test_one_that_joins_sends_nothing(world: World) -> None:
    world.upstream.gate = asyncio.Event()
    first = asyncio.get_running_loop().create_task(world.ask())
    await until(lambda: bool(world.upstream.bodies))
    second = asyncio.get_running_loop().create_task(world.ask(SECOND))
    await until(lambda: world.record.verbs.count("admit") == 2)
    world.upstream.gate.set()

    answers = await asyncio.gather(first, second)

    assert world.transcript() == [*MISS[:4], "read", "admit", *MISS[4:], "give back 1"]
    assert [words(answer) for answer in answers] == [["miss"], ["joined"]]
    assert len({answer.pictures[0].url for answer in answers}) == 1


async def test_a_wrong_key_is_refused_before_anything_is_read(world: World) -> None:
    for secret in (None, b"", b"wrong"):
        with pytest.raises(GatewayError) as caught:
            await world.ask(secret)
        assert caught.value.kind is Kind.INVALID_API_KEY

    assert world.transcript() == []
    assert (world.outcome.key, world.outcome.team) == ("", "")


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        pytest.param({"prompt": ""}, Kind.MISSING_PARAMETER, id="prompt"),
        pytest.param({"model": "nobody"}, Kind.MODEL_NOT_FOUND, id="model"),
        pytest.param({"size": "big"}, Kind.INVALID_VALUE, id="size"),
        pytest.param({"model": "stable-sd3-i2i"}, Kind.IMAGE_REQUIRED, id="image"),
    ],
)
async def test_what_is_wrong_with_a_request_is_told_before_anything_is_asked_of_the_world(
    world: World, fields: dict[str, object], kind: Kind
) -> None:
    with pytest.raises(GatewayError) as caught:
        await world.ask(fields=fields)

    assert caught.value.kind is kind
    assert world.transcript() == ["read"]
    assert world.outcome.key == "first"


@pytest.mark.parametrize("kind", [Kind.UPSTREAM_UNKNOWN, Kind.UPSTREAM_TIMEOUT])
async def test_an_unknown_outcome_is_held_and_told_again_to_its_key(world: World, kind: Kind) -> None:
    code = kind.row.code
    world.upstream.failure = GatewayError(kind, "who knows")

    seen = []
    for look_up in (True, True, False):
        with pytest.raises(GatewayError) as caught:
            await world.ask(look_up=look_up)
        seen.append(caught.value.kind)

    assert seen == [kind] * 3
    assert world.transcript() == [
        *["read", "admit", "reserve", f"send {MODEL}", f"upstream {code}", "end unknown"],
        *["read", "admit"],  # it joins the flight that has just ended
        *["read", "admit", "reserve"],
    ]


async def test_after_its_time_an_unknown_outcome_may_be_paid_for_again(world: World) -> None:
    world.upstream.failure = GatewayError(Kind.UPSTREAM_UNKNOWN, "who knows")
    with pytest.raises(GatewayError):
        await world.ask(look_up=False)
    world.transcript()
    world.upstream.failure = None
    world.clock.advance(61)

    await world.ask()

    assert world.transcript() == MISS
    assert (world.ledger.held, world.ledger.spent) == (40_000, 40_000)


async def test_another_key_is_not_told_of_an_unknown_outcome(world: World) -> None:
    world.upstream.failure = GatewayError(Kind.UPSTREAM_UNKNOWN, "who knows")
    with pytest.raises(GatewayError):
        await world.ask(look_up=False)
    world.transcript()
    world.upstream.failure = None

    await world.ask(SECOND)

    assert world.transcript() == MISS


@pytest.mark.parametrize(
    "kind", [kind for kind in Kind if kind.row.code.startswith("upstream_") and not kind.row.outcome_unknown]
)
async def test_what_was_not_billed_is_neither_held_nor_paid(world: World, kind: Kind) -> None:
    world.upstream.failure = GatewayError(kind, "no")

    with pytest.raises(GatewayError):
        await world.ask()

    verbs = ["read", "admit", "reserve", f"send {MODEL}", f"upstream {kind.row.code}", "end failed"]
    assert world.transcript() == verbs
    assert (world.ledger.held, world.ledger.spent) == (0, 0)


async def test_a_fault_of_ours_is_logged_and_told_as_one(world: World) -> None:
    world.upstream.failure = ZeroDivisionError("a cat")

    with pytest.raises(GatewayError) as caught:
        await world.ask()

    start = ["read", "admit", "reserve", f"send {MODEL}"]
    verbs = [*start, "upstream internal_error", "end unknown", "fault flight"]
    assert (caught.value.kind, world.transcript()) == (Kind.INTERNAL_ERROR, verbs)


async def test_a_fresh_picture_flies_alone_and_is_kept(world: World) -> None:
    await world.ask()
    world.transcript()

    answer = await world.ask(look_up=False)

    assert world.transcript() == MISS
    assert (words(answer), answer.pictures[0].url) == (["bypass"], "https://pictures.example/2.png")


async def test_what_must_not_be_stored_is_not(world: World) -> None:
    answer = await world.ask(look_up=False, keep=False)

    drawn = [step for step in MISS if step != "keep"]
    assert (world.transcript(), words(answer), answer.pictures[0].stored) == (drawn, ["bypass"], False)


async def test_four_after_one_sends_three(world: World) -> None:
    await world.ask()
    world.transcript()

    answer = await world.ask(fields={"n": 4})

    seen = world.transcript()
    assert [seen.count(verb) for verb in ("admit", f"send {MODEL}", "paid 40000", "keep")] == [1, 3, 3, 3]
    assert words(answer) == ["hit", "miss", "miss", "miss"]
    assert world.outcome.cache == "miss"


async def test_bytes_are_fetched_only_where_they_are_asked_for(world: World) -> None:
    await world.ask()
    world.transcript()

    answer = await world.ask(fields=BYTES)

    assert world.transcript() == ["read", "admit", "fetch https://pictures.example/1.png"]
    (held,) = world.downloader.held
    assert answer.pictures[0].data is held
    assert held.data == b"https://pictures.example/1.png"


async def test_bytes_that_cannot_be_fetched_cost_nothing_the_next_time(world: World) -> None:
    world.downloader.failure = GatewayError(Kind.IMAGE_UNAVAILABLE, "later")
    with pytest.raises(GatewayError):
        await world.ask(fields=BYTES)
    assert world.transcript() == [*MISS, "fetch https://pictures.example/1.png"]
    world.downloader.failure = None

    await world.ask(fields=BYTES)

    assert world.transcript() == ["read", "admit", "fetch https://pictures.example/1.png"]


async def test_without_a_cache_pictures_are_drawn(world: World) -> None:
    world.cache.away = True

    assert words(await world.ask()) == ["miss"]
    assert world.transcript() == MISS


async def test_while_the_cache_is_away_what_came_a_moment_ago_is_not_paid_for_again(world: World) -> None:
    first = await world.ask()
    world.limiter.cannot_look = True
    answers = []
    for _ in range(2):
        world.clock.advance(10)
        world.gateway.flights._live.clear()
        answers.append(await world.ask())

    assert [words(answer) for answer in answers] == [["joined"], ["miss"]]
    assert [answer.pictures[0].url == first.pictures[0].url for answer in answers] == [True, False]


async def test_who_cannot_wait_longer_is_told_to_come_back_and_joins(catalogue: Catalogue) -> None:
    world = World(catalogue, Options(answer_timeout=0.0))
    world.upstream.gate = asyncio.Event()

    with pytest.raises(GatewayError) as caught:
        await world.ask()

    assert (caught.value.kind, caught.value.kind.row.retry) == (Kind.STILL_RUNNING, True)
    world.upstream.gate.set()
    await world.gateway.flights.drain()
    answer = await world.ask()
    assert (words(answer), len(world.upstream.bodies)) == (["hit"], 1)


@pytest.mark.parametrize(("scope", "calls"), [("gateway", 1), ("team", 2), ("key", 2)], ids=["gateway", "team", "key"])
async def test_who_shares_pictures_is_a_setting(catalogue: Catalogue, scope: str, calls: int) -> None:
    world = World(catalogue, Options(cache_scope=scope))

    await world.ask(FIRST)
    await world.ask(SECOND)
    await world.ask(FIRST)

    assert len(world.upstream.bodies) == calls


async def test_a_plan_looks_and_sends_nothing(world: World) -> None:
    await world.ask()
    world.transcript()
    asked = Asked(reading(orjson.dumps({"model": MODEL, "prompt": "a cat", "n": 2}), world.record))

    plan = await world.gateway.plan(await world.gateway.accept(FIRST, asked, world.outcome))

    assert world.transcript() == ["read", "recall", "recall"]
    assert (plan["cached"], plan["price"]) == ([True, False], 0.08)


async def test_the_same_idempotency_key_is_told_the_same_and_pays_nothing(world: World) -> None:
    first = await world.ask(attempt="once", look_up=False)
    world.transcript()
    world.clock.advance(100)

    again = await world.ask(attempt="once", look_up=False)
    other = await world.ask(SECOND, attempt="once", look_up=False)

    assert (again.created, again.pictures[0].url) == (first.created, first.pictures[0].url)
    assert [answer.replayed for answer in (first, again, other)] == [False, True, False]
    assert len(world.upstream.bodies) == 2


async def test_an_idempotency_key_stands_for_one_request(world: World) -> None:
    await world.ask(attempt="once")

    with pytest.raises(GatewayError) as caught:
        await world.ask(attempt="once", fields={"prompt": "a dog"})

    assert caught.value.kind is Kind.IDEMPOTENCY_KEY_REUSED


@pytest.mark.parametrize(
    ("kind", "calls"), [(Kind.CONTENT_POLICY, 1), (Kind.UPSTREAM_UNKNOWN, 1), (Kind.UPSTREAM_UNREACHABLE, 2)]
)
async def test_what_was_sent_and_failed_is_told_again_and_what_was_not_is_tried(
    world: World, kind: Kind, calls: int
) -> None:
    world.upstream.failure = GatewayError(kind, "no")

    for _ in range(2):
        with pytest.raises(GatewayError) as caught:
            await world.ask(attempt="once", look_up=False)
        world.clock.advance(100)

    assert (caught.value.kind, caught.value.replayed) == (kind, calls == 1)
    assert len(world.upstream.bodies) == calls


async def test_requests_with_the_same_idempotency_key_join_while_one_runs(world: World) -> None:
    world.upstream.gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(world.ask(attempt="once", look_up=False)) for _ in range(3)]
    await until(lambda: world.record.verbs.count("reserve") == 3)
    world.upstream.gate.set()

    answers = await asyncio.gather(*tasks)

    assert len({answer.pictures[0].url for answer in answers}) == 1
    assert len(world.upstream.bodies) == 1


async def test_a_retry_finds_what_its_first_attempt_paid_for_where_caching_is_bypassed(world: World) -> None:
    first = await world.ask(look_up=False, keep=False)
    world.clock.advance(600)
    world.gateway.flights._live.clear()

    again = await world.ask(look_up=False, keep=False, is_retry=True)
    world.clock.advance(600)
    world.gateway.flights._live.clear()
    later = await world.ask(look_up=False, keep=False, is_retry=True)

    urls = [answer.pictures[0].url for answer in (first, again, later)]
    assert urls == ["https://pictures.example/1.png", *urls[:1], "https://pictures.example/2.png"]


async def test_without_the_database_nothing_new_is_paid_and_hits_are_served(world: World) -> None:
    await world.ask()
    world.ledger.away = True

    hit = await world.ask()
    with pytest.raises(GatewayError) as caught:
        await world.ask(fields={"prompt": "a dog"})

    assert (words(hit), caught.value.kind) == (["hit"], Kind.STORE_UNAVAILABLE)
    assert len(world.upstream.bodies) == 1


async def test_a_budget_that_is_used_up_sends_nothing(world: World) -> None:
    world.ledger.budget = 39_999

    with pytest.raises(GatewayError) as caught:
        await world.ask()

    assert (caught.value.kind, world.upstream.bodies) == (Kind.INSUFFICIENT_QUOTA, [])


async def test_one_that_joined_is_not_refused_for_the_budget_of_who_began(world: World) -> None:
    reserve, world.ledger.record = world.ledger.reserve, Recorder()
    asked = asyncio.Event()

    async def refuse_the_first(draft: Draft, upstream_key: str) -> Generation:
        if draft.caller.key == "second":
            return await reserve(draft, upstream_key)
        await asked.wait()
        raise GatewayError(Kind.INSUFFICIENT_QUOTA, "The day's budget of team first is used up.")

    world.ledger.reserve = refuse_the_first  # type: ignore[method-assign]
    loop = asyncio.get_running_loop()
    poor = loop.create_task(world.ask())
    await until(lambda: world.record.verbs.count("admit") == 1)
    others = [loop.create_task(world.ask(secret)) for secret in (SECOND, SECOND, FIRST)]
    await until(lambda: world.record.verbs.count("admit") == 4)
    asked.set()
    told = await asyncio.gather(poor, *others, return_exceptions=True)

    codes = [one.kind.row.code if isinstance(one, GatewayError) else words(one)[0] for one in told]  # type: ignore[arg-type]
    assert codes == ["insufficient_quota", "miss", "joined", "insufficient_quota"]
    assert len(world.upstream.bodies) == 1


async def placed(world: World, n: int = 1) -> Order:
    """An order that was admitted and holds a place among the requests at once."""
    asked = Asked(reading(orjson.dumps({"model": MODEL, "prompt": "a cat", "n": n}), world.record))
    order = await world.gateway.accept(FIRST, asked, world.outcome)
    order = msgspec.structs.replace(order, caller=Caller("first", "first", Terms(concurrency=1)))
    return await world.gateway.admit(order)


@pytest.mark.parametrize("n", [1, 3])
async def test_a_place_is_given_back_once_and_before_the_answer(world: World, n: int) -> None:
    order = await placed(world, n)
    assert world.limiter.windows.holds("req_1")

    await world.gateway.generate(order)

    assert not world.limiter.windows.holds("req_1")
    assert world.transcript().count("release") == 1


async def test_a_place_is_held_until_302_has_drawn_whoever_hangs_up(world: World) -> None:
    world.upstream.gate = asyncio.Event()
    order = await placed(world)
    asking = asyncio.get_running_loop().create_task(world.gateway.generate(order))
    await until(lambda: bool(world.upstream.bodies))

    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert world.limiter.windows.holds("req_1")
    world.upstream.gate.set()
    await world.gateway.flights.drain()

    assert not world.limiter.windows.holds("req_1")


async def test_who_joined_is_answered_when_its_place_is_free_for_its_next_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[str] = []

    async def slowly(request_id: str) -> None:
        await asyncio.sleep(0.02)
        released.append(request_id)

    monkeypatch.setattr(world.limiter, "release", slowly)
    world.upstream.gate = asyncio.Event()
    other = asyncio.get_running_loop().create_task(world.ask(SECOND))
    await until(lambda: bool(world.upstream.bodies))
    asking = asyncio.get_running_loop().create_task(world.gateway.generate(await placed(world)))
    await asyncio.sleep(0)
    world.upstream.gate.set()
    answer = await asking

    assert (words(answer), released) == (["joined"], ["req_1"])
    await other


async def test_a_fault_of_ours_gives_the_place_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    order = await placed(world)
    monkeypatch.setattr(world.cache, "read", broken)

    with pytest.raises(RuntimeError):
        await world.gateway.generate(order)

    assert not world.limiter.windows.holds("req_1")
