"""What an Idempotency-Key may look like."""

import pytest

from gateway.core.errors import GatewayError
from gateway.core.repeats import name_of


@pytest.mark.parametrize(("header", "name"), [("a", "a"), ('"a"', "a"), ("a b", "a b"), ('"', '"'), ('"a', '"a')])
def test_a_name_is_bare_or_quoted(header: str, name: str) -> None:
    assert name_of(header) == name


@pytest.mark.parametrize("header", ["", '""', " ", "\u00e9", "a\tb", "a" * 256])
def test_what_is_no_name_is_refused(header: str) -> None:
    with pytest.raises(GatewayError, match="Idempotency-Key"):
        name_of(header)
