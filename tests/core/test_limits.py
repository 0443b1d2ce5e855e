"""Which limits hold, which of them is told, and how a refusal is worded."""

import pytest

from gateway.core.errors import Kind
from gateway.core.keys import Caller, Terms
from gateway.core.limits import Limit, Refusal, Standing, limits_of, refused, standings_of


@pytest.mark.parametrize(
    ("key", "team", "limits"),
    [
        pytest.param(Terms(), Terms(), (), id="none"),
        pytest.param(Terms(rpm=3), Terms(), (Limit("requests", "key", 3),), id="key"),
        pytest.param(Terms(), Terms(ipm=3), (Limit("images", "team", 3),), id="team"),
        pytest.param(
            Terms(concurrency=9),
            Terms(concurrency=3),
            (Limit("concurrency", "key", 3), Limit("concurrency", "team", 3)),
            id="a-keys-never-exceeds-its-teams",
        ),
        pytest.param(
            Terms(rpm=0, ipm=2), Terms(rpm=1), (
                Limit("requests", "key", 0), Limit("requests", "team", 1), Limit("images", "key", 2)
            ), id="nothing-is-a-limit-too",
        ),
    ],
)  # fmt: skip
def test_limits_are_the_keys_and_the_teams(key: Terms, team: Terms, limits: tuple[Limit, ...]) -> None:
    assert limits_of(Caller("key", "team", key, team)) == limits


def test_a_limit_is_named_by_whose_it_is() -> None:
    assert Limit("images", "team", 1).name == "team_images"


def test_the_tightest_standing_of_each_measure_is_told_and_none_of_places() -> None:
    used = [
        (Limit("requests", "key", 10), 3, 1.0),
        (Limit("requests", "team", 8), 1, 2.0),
        (Limit("requests", "team", 7), 0, 3.0),
        (Limit("images", "key", 2), 5, 4.0),
        (Limit("concurrency", "key", 1), 1, 0.0),
    ]

    assert standings_of(used) == (Standing("requests", 7, 7, 3.0), Standing("images", 2, 0, 4.0))


def test_a_wait_is_never_told_as_more_than_a_minute() -> None:
    standings = (Standing("requests", 5, 0, 20.5),)
    error = refused(Refusal(Limit("requests", "team", 5), 90.0), standings)

    assert (error.kind, error.retry_after, error.standings) == (Kind.RATE_LIMIT_EXCEEDED, 60, standings)
    assert error.message == (
        "Rate limit reached for this key's team on requests per minute: limit 5. Please try again in 1m0s."
    )
    assert error.copy().standings == standings


def test_more_images_than_a_limit_has_is_a_wrong_n() -> None:
    standings = (Standing("images", 5, 5, 0.0),)
    error = refused(Refusal(Limit("images", "key", 5), None), standings)

    assert (error.kind, error.param, error.standings) == (Kind.INVALID_VALUE, "n", standings)
    assert error.message == "The limit of this key on images per minute is 5, and this request alone asks for more."
