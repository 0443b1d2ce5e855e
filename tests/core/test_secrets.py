"""One secret, and what is derived from it."""

import pytest

from gateway.core.secrets import derive, digest_of, weakness

GOOD = "0123456789abcdef0123456789abcdef"


def test_hkdf_is_that_of_rfc_5869() -> None:
    """OpenSSL's answer: `openssl kdf … HKDF` with SHA-256, no salt, info `a`."""
    assert derive(GOOD, "a").hex() == "52c3d6ba3509819058695a5aa07d69d0866cf1043b2500f835a885a92658378a"


def test_each_purpose_has_a_key_of_its_own() -> None:
    derived = {derive(GOOD, label) for label in ("a", "b", "ab", "")} | {derive(GOOD + "0", "a")}

    assert len(derived) == 5
    assert digest_of(derive(GOOD, "a"), b"x") != digest_of(derive(GOOD, "b"), b"x")


@pytest.mark.parametrize(
    "secret",
    ["", "changeme", "x" * 31, "x" * 64, "changeme" * 8, "your-secret-here-your-secret-here", "ä" * 40, GOOD + "\n"],
)
def test_a_weak_secret_is_told_why(secret: str) -> None:
    assert weakness(secret)


def test_a_good_one_is_none_of_these() -> None:
    assert weakness(GOOD) is None
