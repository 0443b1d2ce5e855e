"""A cache hit that is asked for again: told as `generate` tells it, or not at all where anything may have changed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count

import msgspec
import orjson
import pytest

from gateway.core.catalogue import Catalogue
from gateway.core.coerce import Policy
from gateway.core.entry import Entry, encode
from gateway.core.errors import GatewayError
from gateway.core.keys import Caller, Terms
from gateway.core.order import Answer, Asked, Order
from gateway.core.outcome import CacheState, Outcome
from gateway.fastpath import KeptOrder
from tests.fakes import reading
from tests.world import FIRST, MODEL, SECOND, World

KEY = b"a key of the directory"
TERMS = Terms(models=("dall-e-*",), rpm=9, ipm=5, concurrency=1)
CALLER = Caller("key_1", "design", TERMS, Terms(rpm=20))
LATER = 1_800_000_500.0


@dataclass
class Keys:
    """A directory that has one key, or none."""

    caller: Caller | None = CALLER

    def find(self, secret: bytes) -> Caller | None:
        return self.caller if secret == KEY else None

    def named(self, id_: str) -> Caller | None:
        return None

    async def refresh(self) -> None:
        return None


@dataclass
class Scene:
    """A world whose gateway has a directory too."""

    world: World
    keys: Keys = field(default_factory=Keys)
    ids: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.world.gateway = replace(self.world.gateway, directory=self.keys)

    async def order(self, secret: bytes = KEY, **fields: object) -> Order:
        """One that was let in."""
        body = orjson.dumps({"model": MODEL, "prompt": "a cat", **fields})
        outcome = Outcome(f"req_{next(self.ids)}", "POST")
        order = await self.world.gateway.accept(secret, Asked(reading(body)), outcome)
        return await self.world.gateway.admit(order)

    async def generate(self, secret: bytes = KEY, **fields: object) -> Answer:
        return await self.world.gateway.generate(await self.order(secret, **fields))

    async def kept(self, secret: bytes = KEY, **fields: object) -> KeptOrder:
        """How to answer once more what was drawn, and is a hit by now."""
        await self.generate(secret, **fields)
        order = await self.order(secret, **fields)
        answer = await self.world.gateway.generate(order)
        assert {picture.cache for picture in answer.pictures} == {CacheState.HIT}
        self.world.transcript()
        return KeptOrder(self.world.gateway, order, secret)


def ask(kept: KeptOrder) -> Answer | None:
    told: list[Answer | None] = []
    kept.ask(told.append)
    [answer] = told
    return answer


@pytest.fixture
def scene(catalogue: Catalogue) -> Scene:
    return Scene(World(catalogue))


@pytest.mark.parametrize("secret", [KEY, FIRST])
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="plain"),
        pytest.param({"n": 3}, id="several"),
        pytest.param({"size": "1792x1024"}, id="adjusted"),
        pytest.param({"model": "gpt-image-1", "response_format": "url"}, id="with-usage"),
    ],
)
async def test_it_is_the_answer_that_a_hit_gets(scene: Scene, secret: bytes, fields: dict[str, object]) -> None:
    scene.keys.caller = msgspec.structs.replace(CALLER, key_terms=Terms(rpm=9, ipm=5))
    kept = await scene.kept(secret, **fields)
    scene.world.clock.advance(100)

    answer = ask(kept)

    assert scene.world.transcript() == ["admit kept"]
    assert answer is not None
    in_full = await scene.generate(secret, **fields)
    assert answer.created == LATER - 400
    assert {picture.ttl for picture in answer.pictures} == {3500}
    # Each of the two counts as a request, and neither as an image.
    assert [s.remaining for s in answer.standings] == ([] if secret == FIRST else [8, 5])
    assert [s.remaining for s in in_full.standings] == ([] if secret == FIRST else [7, 5])
    assert msgspec.structs.replace(answer, standings=in_full.standings) == in_full


async def test_it_is_asked_for_as_often_as_the_limit_allows(scene: Scene) -> None:
    scene.keys.caller = msgspec.structs.replace(CALLER, key_terms=Terms(rpm=5))
    kept = await scene.kept()

    answers = [ask(kept) for _ in range(5)]

    assert [answer is not None for answer in answers] == [True] * 3 + [False] * 2
    scene.world.clock.advance(60)
    assert ask(kept) is not None


CHANGES: dict[str, Caller | None] = {
    "revoked": None,
    "disabled": msgspec.structs.replace(CALLER, key_terms=msgspec.structs.replace(TERMS, disabled=True)),
    "team-disabled": msgspec.structs.replace(CALLER, team_terms=Terms(rpm=20, disabled=True)),
    "other-models": msgspec.structs.replace(CALLER, key_terms=msgspec.structs.replace(TERMS, models=("flux-*",))),
    "models-of-the-team": msgspec.structs.replace(CALLER, team_terms=Terms(models=("flux-*",), rpm=20)),
    "coercion": msgspec.structs.replace(CALLER, key_terms=msgspec.structs.replace(TERMS, coercion=Policy.STRICT)),
    "coercion-of-the-team": msgspec.structs.replace(CALLER, team_terms=Terms(rpm=20, coercion=Policy.STRICT)),
    "limits": msgspec.structs.replace(CALLER, key_terms=msgspec.structs.replace(TERMS, rpm=1)),
    "another-team": msgspec.structs.replace(CALLER, team="shop"),
    "another-key": msgspec.structs.replace(CALLER, key="key_2"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_whose_key_is_not_as_it_was_goes_all_the_way_and_nothing_is_taken(scene: Scene, change: str) -> None:
    kept = await scene.kept()
    scene.keys.caller = CHANGES[change]

    assert ask(kept) is None
    assert scene.world.transcript() == []
    scene.keys.caller = msgspec.structs.replace(CALLER)  # equal is as good as the same
    assert ask(kept) is not None


@pytest.mark.parametrize("whose", ["key", "team"])
async def test_it_is_not_told_to_a_key_that_was_disabled_or_expired_from_the_first(scene: Scene, whose: str) -> None:
    expiring = msgspec.structs.replace(TERMS, expires=LATER)
    scene.keys.caller = Caller("key_1", "design", **{f"{whose}_terms": expiring})
    kept = await scene.kept()
    scene.world.clock.advance(499)
    assert ask(kept) is not None
    scene.world.clock.advance(1)
    scene.world.transcript()

    assert ask(kept) is None
    assert scene.world.transcript() == []
    with pytest.raises(GatewayError, match="expired"):
        await scene.generate()


async def test_a_static_key_that_is_another_callers_now_goes_all_the_way(scene: Scene) -> None:
    kept = await scene.kept(FIRST)
    order = await scene.order(SECOND)

    assert ask(kept) is not None
    assert ask(KeptOrder(scene.world.gateway, order, FIRST)) is None
    assert ask(KeptOrder(scene.world.gateway, order, None)) is None


def entry(fingerprint: str, url: str = "https://pictures.example/9.png", expires: float = LATER) -> bytes:
    return encode(Entry(fingerprint, url, expires))


VALUES: dict[str, Callable[[str], bytes | None]] = {
    "gone": lambda _fingerprint: None,
    "expired": lambda fingerprint: entry(fingerprint, expires=LATER - 500),
    "another": lambda _fingerprint: entry("another"),
    "media": lambda fingerprint: entry(fingerprint, "media:9.png"),
    "nowhere": lambda fingerprint: entry(fingerprint, "javascript:alert(1)"),
    "garbage": lambda _fingerprint: b"\xff{",
    "nothing": lambda _fingerprint: b"",
}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("slot", [0, 1])
async def test_a_picture_that_is_not_what_was_kept_is_not_told(scene: Scene, value: str, slot: int) -> None:
    kept = await scene.kept(n=2)
    found = scene.world.cache.kept
    name = sorted(found, key=lambda name: found[name])[slot]
    if (stored := VALUES[value](name)) is None:
        del found[name]
    else:
        found[name] = stored

    assert ask(kept) is None
    assert scene.world.transcript() == ["admit kept"]


async def test_a_picture_that_was_drawn_anew_is_told_from_then_on(scene: Scene) -> None:
    kept = await scene.kept()
    [name] = scene.world.cache.kept
    scene.world.cache.kept[name] = entry(name)

    answer = ask(kept)

    assert answer is not None
    assert [(picture.url, picture.ttl) for picture in answer.pictures] == [("https://pictures.example/9.png", 500)]


async def test_a_picture_is_told_until_its_time_is_over(scene: Scene) -> None:
    kept = await scene.kept()
    scene.world.clock.advance(3599.5)
    assert ask(kept) is not None
    scene.world.clock.advance(0.5)

    assert ask(kept) is None
    assert CacheState.HIT not in [picture.cache for picture in (await scene.generate()).pictures]
