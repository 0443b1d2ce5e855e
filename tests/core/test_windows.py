"""Laws of the limits that a worker keeps by itself."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.limits import Limit
from gateway.core.windows import Windows

WINDOW = 10.0
REQUESTS = ("requests", Limit("requests", "key", 5))
ASKED = st.tuples(st.floats(0, 3), st.integers(0, 4), st.sampled_from(["one", "two"]))


def limits(name: str) -> list[tuple[str, Limit]]:
    return [
        (f"{name} requests", Limit("requests", "key", 3)),
        ("team requests", Limit("requests", "team", 5)),
        (f"{name} images", Limit("images", "key", 6)),
        ("team images", Limit("images", "team", 8)),
    ]


@given(st.lists(ASKED, max_size=60))
def test_no_window_of_any_length_ever_holds_more_than_the_limit(asked: list[tuple[float, int, str]]) -> None:
    windows, now = Windows(window=WINDOW), 0.0
    taken: list[tuple[float, str, int]] = []

    for number, (pause, images, name) in enumerate(asked):
        now += pause
        if windows.admit(limits(name), images, f"req_{number}", now).refusal is None:
            taken.append((now, name, images))

        inside = [entry for entry in taken if entry[0] + WINDOW > now]
        requests, drawn = Counter(name for _, name, _ in inside), Counter[str]()
        for _, own, count in inside:
            drawn[own] += count
        assert max(requests.values(), default=0) <= 3
        assert max(drawn.values(), default=0) <= 6
        assert (requests.total() <= 5, drawn.total() <= 8) == (True, True)
        assert len(windows) <= 2 * (3 + 6) + 5 + 8


@given(st.lists(ASKED, min_size=1, max_size=40), st.integers(0, 4))
def test_a_refusal_takes_nothing_and_its_wait_fits_and_no_shorter_one(
    asked: list[tuple[float, int, str]], images: int
) -> None:
    windows, now = Windows(window=WINDOW), 0.0
    for number, (pause, wanted, name) in enumerate(asked):
        now += pause
        windows.admit(limits(name), wanted, f"req_{number}", now)

    first, second = (windows.admit(limits("one"), images, name, now) for name in ("a", "a"))
    if first.refusal is None:
        assert second.standings == first.standings
        return
    wait = first.refusal.retry_after
    assert second == first
    assert wait is not None
    assert 0 < wait <= WINDOW + 1e-6
    if wait > 0.01:
        assert windows.admit(limits("one"), images, "b", now + wait - 0.005).refusal is not None
    assert windows.admit(limits("one"), images, "c", now + wait + 1e-6).refusal is None


@given(st.lists(ASKED, max_size=40))
def test_what_remains_is_what_is_let_in_next(asked: list[tuple[float, int, str]]) -> None:
    windows, now = Windows(window=WINDOW), 0.0
    for number, (pause, wanted, name) in enumerate(asked):
        now += pause
        windows.admit(limits(name), wanted, f"req_{number}", now)

    verdicts = [windows.admit([REQUESTS], 1, f"more_{number}", now) for number in range(7)]

    left = [verdict.standings[0].remaining for verdict in verdicts]
    assert [after - before for before, after in pairwise(left)] == [-1, -1, -1, -1, 0, 0]
    assert [verdict.refusal is None for verdict in verdicts] == [True] * 5 + [False] * 2


@pytest.mark.parametrize(
    ("most", "workers", "share"),
    [(8, 1, 8), (8, 4, 2), (9, 4, 2), (3, 4, 1), (0, 4, 0), (5, 0, 5)],
)
def test_each_worker_lets_in_its_share_and_at_least_one(most: int, workers: int, share: int) -> None:
    windows = Windows(workers)
    verdicts = [windows.admit([("r", Limit("requests", "key", most))], 1, f"{number}", 0.0) for number in range(10)]

    assert sum(verdict.refusal is None for verdict in verdicts) == share


def test_what_the_whole_limit_allows_fits_into_an_empty_share() -> None:
    windows, images = Windows(workers=4), [("images", Limit("images", "key", 8))]

    verdicts = [windows.admit(images, wanted, f"{wanted}", now) for wanted, now in ((8, 0.0), (1, 1.0), (9, 100.0))]

    waits = [verdict.refusal and verdict.refusal.retry_after for verdict in verdicts]
    assert (waits, [verdict.refusal is None for verdict in verdicts]) == ([None, 59.0, None], [True, False, False])


def test_memory_is_bounded_and_the_oldest_window_is_forgotten_first() -> None:
    windows = Windows(most_entries=100)

    for number in range(1000):
        windows.admit([(f"team {number}", Limit("images", "team", 10))], 4, f"req_{number}", number / 1000)
        assert len(windows) <= 100

    newest = windows.admit([("team 999", Limit("images", "team", 10))], 1, "again", 1.0)
    oldest = windows.admit([("team 0", Limit("images", "team", 10))], 1, "again", 1.0)
    assert (newest.standings[0].remaining, oldest.standings[0].remaining) == (5, 9)


def test_what_has_lapsed_makes_room_before_anything_is_forgotten() -> None:
    windows = Windows(window=10, most_entries=4)
    windows.admit([REQUESTS], 1, "a", 0.0)
    other = [("other", Limit("requests", "key", 9))]
    verdicts = [windows.admit(other, 1, f"{number}", 9.0 + number) for number in range(4)]

    assert (verdicts[-1].standings[0].remaining, len(windows)) == (5, 4)


def test_holders_are_known_by_their_places() -> None:
    windows = Windows()
    windows.hold(("key", "team"), "a")
    windows.hold(("other", "team"), "b")
    windows.hold(("key", "team"), "c")

    assert windows.holders() == {("key", "team"): ["a", "c"], ("other", "team"): ["b"]}
    assert (windows.holds("a"), windows.release("a"), windows.release("a"), windows.holds("a")) == (
        True,
        ("key", "team"),
        (),
        False,
    )
