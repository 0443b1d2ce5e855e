"""The small decisions about a request on its way: policy, scope, places, addresses of our own."""

import pytest

from gateway.core.coerce import Policy
from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import Caller
from gateway.core.order import Options, Place, media_name, policy_of, scope_of
from gateway.core.translate import Rules

CALLER = Caller(key="web", team="shop")


def test_what_is_not_set_is_what_the_contract_says() -> None:
    found = Options()

    assert (found.policy, found.cache_scope) == (Policy.DOCUMENTED, "gateway")
    assert (found.answer_timeout, found.picture_ttl) == (290, 3600)
    assert found.rules == Rules(response_format="url", unknown_models="refuse")


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        (None, Policy.NEAREST),
        ("documented", Policy.DOCUMENTED),
        (" Strict ", Policy.STRICT),
        ("NEAREST", Policy.NEAREST),
    ],
)
def test_a_caller_may_name_the_policy(name: str | None, policy: Policy) -> None:
    assert policy_of(name, Policy.NEAREST) is policy


@pytest.mark.parametrize("name", ["", "strictly", "documented,nearest"])
def test_an_unknown_policy_is_refused_by_its_header(name: str) -> None:
    with pytest.raises(GatewayError, match="one of documented, nearest, strict") as refusal:
        policy_of(name, Policy.NEAREST)

    assert (refusal.value.kind, refusal.value.param) == (Kind.INVALID_VALUE, "x-gateway-coercion")


@pytest.mark.parametrize(("setting", "scope"), [("gateway", "gateway"), ("team", "team:shop"), ("key", "key:web")])
def test_pictures_are_shared_by_all_by_a_team_or_by_nobody(setting: str, scope: str) -> None:
    assert scope_of(setting, CALLER) == scope


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("media:0f.png", "0f.png"),
        ("https://file.302.ai/cat.png", None),
        ("https://file.302.ai/media:0f.png", None),
        ("MEDIA:0f.png", None),
    ],
)
def test_an_address_in_our_own_store_is_a_name(url: str, name: str | None) -> None:
    assert media_name(url) == name


def test_a_place_is_held_until_all_that_must_be_drawn_is_there() -> None:
    place = Place(2)
    place.take_off(0)
    place.take_off(1)

    assert [place.land(0), place.land(1), place.land(1), place.leave()] == [False, True, False, False]


def test_a_place_is_held_for_what_the_request_waits_for_and_for_what_outlives_it() -> None:
    joining, outlived = Place(2), Place(1)
    joining.take_off(0)
    outlived.take_off(0)

    assert [joining.land(0), joining.leave(), joining.leave()] == [False, True, False]
    assert [outlived.leave(), outlived.land(0)] == [False, True]
