"""How keys look, who stands behind one, and which header carries it."""

import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.coerce import Policy
from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import (
    Caller,
    Keyring,
    Terms,
    check_model,
    check_standing,
    credentials,
    may_use,
    mint,
    name_key,
    parse_static,
    policy_for,
    unknown_key,
    well_formed,
)

KEYRING = Keyring({"web": "s3cret", "batch": "two words = one key", "größe": "schlüssel"})
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

randomness = st.integers(0, 2**192 - 1)


@pytest.mark.parametrize(
    ("secret", "name"), [(b"s3cret", "web"), (b"two words = one key", "batch"), ("schlüssel".encode(), "größe")]
)
def test_a_static_key_is_its_own_team(secret: bytes, name: str) -> None:
    assert KEYRING.find(secret) == Caller(key=name, team=name)
    assert len(KEYRING) == 3


@pytest.mark.parametrize(
    "secret",
    [b"s3cre", b"s3cret2", b"S3CRET", b" s3cret", b"web", b"\xff\xfe", pytest.param(b"x" * 100_000, id="a long one")],
)
def test_every_wrong_key_hears_the_same_and_is_not_echoed(secret: bytes) -> None:
    assert KEYRING.find(secret) is None
    refusal = unknown_key(secret)

    assert refusal.kind is Kind.INVALID_API_KEY
    assert refusal.message == "Incorrect API key provided: this gateway does not know it."


@pytest.mark.parametrize("secret", [None, b""])
def test_a_missing_key_hears_where_to_put_it(secret: bytes | None) -> None:
    refusal = unknown_key(secret)

    assert "Authorization: Bearer" in refusal.message
    assert refusal.kind is Kind.INVALID_API_KEY


def test_a_keyring_keeps_no_secret() -> None:
    assert "s3cret" not in repr(vars(KEYRING))


@pytest.mark.parametrize(
    ("authorization", "api_key", "secret"),
    [
        (b"Bearer s3cret", None, b"s3cret"),
        (b"bearer s3cret", None, b"s3cret"),
        (b"BEARER  two words ", None, b"two words"),
        (b"Bearer s3cret", b"other", b"s3cret"),
        (None, b" s3cret ", b"s3cret"),
        (b"Basic dTpw", b"s3cret", b"s3cret"),
        (b"Basic dTpw", None, None),
        (b"s3cret", None, None),
        (b"Bearer", None, None),
        (b"Bearer ", None, b""),
        (None, b"", None),
        (None, None, None),
    ],
)
def test_the_bearers_secret_speaks_before_azures_header(
    authorization: bytes | None, api_key: bytes | None, secret: bytes | None
) -> None:
    assert credentials(authorization, api_key) == secret


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("", {}),
        (" , \n", {}),
        ("web=s3cret", {"web": "s3cret"}),
        ("web=s3cret,batch=two words", {"web": "s3cret", "batch": "two words"}),
        (" web = s3cret ,\n batch=other,\n", {"web": "s3cret", "batch": "other"}),
        ("web=s3cret\nbatch=other", {"web": "s3cret", "batch": "other"}),
        ("web=a=b==", {"web": "a=b=="}),
    ],
)
def test_static_keys_are_read(text: str, secrets: dict[str, str]) -> None:
    assert parse_static(text) == secrets


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("s3cret", "entry 1 is not name=secret"),
        ("web=a,s3cret", "entry 2 is not name=secret"),
        ("=s3cret", "entry 1 is not name=secret"),
        ("web=", "entry 1 is not name=secret"),
        ("web=s3cret,web=other", "entry 2 ('web') repeats a name or a secret"),
        ("web=s3cret,batch=s3cret", "entry 2 ('batch') repeats a name or a secret"),
    ],
)
def test_a_wrong_static_key_is_named_without_its_secret(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match="entry") as refusal:
        parse_static(text)

    assert str(refusal.value) == complaint


@given(number=randomness)
def test_a_minted_key_has_thirty_random_digits_and_six_of_their_checksum(number: int) -> None:
    key = mint(number)

    assert re.fullmatch(r"gw_live_[0-9A-Za-z]{36}", key)
    checksum = 0
    for digit in key[-6:]:
        checksum = checksum * 62 + DIGITS.index(digit)
    assert checksum == zlib.crc32(key[:-6].encode())


@given(one=st.integers(0, 62**30 - 1), other=st.integers(0, 62**30 - 1))
def test_different_randomness_makes_different_keys(one: int, other: int) -> None:
    assert (mint(one) == mint(other)) == (one == other)


@given(number=randomness)
def test_a_minted_key_is_well_formed_and_any_other_digit_in_it_is_not(number: int) -> None:
    key = mint(number).encode()
    place = 8 + number % 36
    other = b"0" if key[place : place + 1] != b"0" else b"1"

    assert well_formed(key)
    assert not well_formed(key[:place] + other + key[place + 1 :])


@pytest.mark.parametrize("secret", [b"", b"gw_live_", b"gw_live_" + b"0" * 36, b"s3cret", "gw_live_ä".encode()])
def test_what_is_none_of_ours_is_not_well_formed(secret: bytes) -> None:
    assert not well_formed(secret)


def test_ids_of_keys_are_all_of_one_length() -> None:
    assert re.fullmatch(r"key_[0-9A-Za-z]{22}", name_key(0))
    assert name_key(1) != name_key(2)


NOW = 1_000.0
STANDINGS = [
    (Terms(), Terms(), None),
    (Terms(expires=NOW + 1), Terms(expires=NOW + 1), None),
    (Terms(disabled=True), Terms(), Kind.KEY_DISABLED),
    (Terms(), Terms(disabled=True), Kind.KEY_DISABLED),
    (Terms(expires=NOW), Terms(), Kind.KEY_EXPIRED),
    (Terms(), Terms(expires=NOW - 1), Kind.KEY_EXPIRED),
    (Terms(disabled=True, expires=0), Terms(), Kind.KEY_DISABLED),
]


@pytest.mark.parametrize(("key", "team", "kind"), STANDINGS)
def test_a_key_or_team_that_may_not_ask_any_more_hears_why(key: Terms, team: Terms, kind: Kind | None) -> None:
    caller = Caller("k", "t", key, team)

    if kind is None:
        check_standing(caller, NOW)
    else:
        with pytest.raises(GatewayError) as refusal:
            check_standing(caller, NOW)
        assert refusal.value.kind is kind


@pytest.mark.parametrize(
    ("key", "team", "allowed"),
    [
        ((), (), True),
        (("flux-*",), (), True),
        (("FLUX-*",), ("*-t2i", "nothing"), True),
        (("dall-e-?-t2i",), (), False),
        (("flux-*",), ("dall-e-*",), False),
        ((), ("dall-e-*",), False),
        (("flux-dev",), (), False),
    ],
)
def test_a_model_must_be_in_the_lists_of_key_and_team(
    key: tuple[str, ...], team: tuple[str, ...], allowed: bool
) -> None:
    caller = Caller("k", "t", Terms(models=key), Terms(models=team))

    assert may_use(caller, "flux-dev-t2i") == allowed
    if not allowed:
        with pytest.raises(GatewayError, match="flux-dev-t2i") as refusal:
            check_model(caller, "flux-dev-t2i")
        assert (refusal.value.kind, refusal.value.param) == (Kind.MODEL_NOT_ALLOWED, "model")


def test_the_policy_is_the_keys_else_the_teams_else_the_gateways() -> None:
    strict, nearest = Terms(coercion=Policy.STRICT), Terms(coercion=Policy.NEAREST)

    assert policy_for(Caller("k", "t", strict, nearest), Policy.DOCUMENTED) is Policy.STRICT
    assert policy_for(Caller("k", "t", Terms(), nearest), Policy.DOCUMENTED) is Policy.NEAREST
    assert policy_for(Caller("k", "t"), Policy.DOCUMENTED) is Policy.DOCUMENTED
