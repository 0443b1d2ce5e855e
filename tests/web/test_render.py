"""Headers that tell a caller where it stands, as OpenAI's clients read them."""

import pytest

from gateway.core.errors import GatewayError, Kind
from gateway.core.limits import Limit, Refusal, Standing, refused
from gateway.web.render import error_reply, standing_headers

STANDINGS = (Standing("requests", 60, 59, 60.0), Standing("images", 10, 0, 20.5))


def test_standings_are_told_as_openai_tells_them() -> None:
    assert standing_headers(STANDINGS) == [
        (b"x-ratelimit-limit-requests", b"60"),
        (b"x-ratelimit-remaining-requests", b"59"),
        (b"x-ratelimit-reset-requests", b"1m0s"),
        (b"x-ratelimit-limit-images", b"10"),
        (b"x-ratelimit-remaining-images", b"0"),
        (b"x-ratelimit-reset-images", b"20.5s"),
    ]
    assert standing_headers(()) == []


@pytest.mark.parametrize(
    ("wait", "seconds", "milliseconds"),
    [(0.0001, b"1", b"1"), (0.5, b"1", b"500"), (20.4567, b"21", b"20457"), (60.0, b"60", b"60000")],
)
def test_a_refusal_tells_where_the_caller_stands_and_when_to_come_again(
    wait: float, seconds: bytes, milliseconds: bytes
) -> None:
    reply = error_reply(refused(Refusal(Limit("images", "key", 10), wait), STANDINGS))

    assert reply.status == 429
    assert reply.headers[1:] == [
        (b"x-should-retry", b"true"),
        (b"retry-after", seconds),
        (b"retry-after-ms", milliseconds),
        *standing_headers(STANDINGS),
    ]


def test_what_never_fits_tells_no_wait() -> None:
    reply = error_reply(refused(Refusal(Limit("images", "key", 10), None), STANDINGS))

    assert (reply.status, reply.headers[1:]) == (400, [(b"x-should-retry", b"false"), *standing_headers(STANDINGS)])


def test_other_errors_say_nothing_of_limits() -> None:
    assert error_reply(GatewayError(Kind.UPSTREAM_UNKNOWN, "Lost.")).headers[1:] == [(b"x-should-retry", b"false")]
