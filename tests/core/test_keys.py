"""How keys look, who stands behind one, and which header carries it."""

import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import Caller, Keyring, credentials, mint, parse_static

KEYRING = Keyring({"web": "s3cret", "batch": "two words = one key", "größe": "schlüssel"})
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

randomness = st.integers(0, 2**192 - 1)


@pytest.mark.parametrize(
    ("secret", "name"), [(b"s3cret", "web"), (b"two words = one key", "batch"), ("schlüssel".encode(), "größe")]
)
def test_a_static_key_is_its_own_team(secret: bytes, name: str) -> None:
    assert KEYRING.caller(secret) == Caller(key=name, team=name)
    assert len(KEYRING) == 3


@pytest.mark.parametrize(
    "secret",
    [b"s3cre", b"s3cret2", b"S3CRET", b" s3cret", b"web", b"\xff\xfe", pytest.param(b"x" * 100_000, id="a long one")],
)
def test_every_wrong_key_hears_the_same_and_is_not_echoed(secret: bytes) -> None:
    with pytest.raises(GatewayError) as refusal:
        KEYRING.caller(secret)

    assert refusal.value.kind is Kind.INVALID_API_KEY
    assert refusal.value.message == "Incorrect API key provided: this gateway does not know it."


@pytest.mark.parametrize("secret", [None, b""])
def test_a_missing_key_hears_where_to_put_it(secret: bytes | None) -> None:
    with pytest.raises(GatewayError, match="Authorization: Bearer") as refusal:
        KEYRING.caller(secret)

    assert refusal.value.kind is Kind.INVALID_API_KEY


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
