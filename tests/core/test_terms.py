"""How the terms of teams and keys are read and told: what is refused is named by its field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.coerce import Policy
from gateway.core.days import day_of, month_of
from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import Terms
from gateway.core.pages import MOST, Page, Wanted, page_of, read_sought, read_wanted
from gateway.core.terms import (
    FIELDS,
    check_within,
    read_name,
    read_overlap,
    read_terms,
    read_time,
    told_terms,
    told_time,
)

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


@pytest.mark.parametrize(
    ("field", "value", "read"),
    [
        ("models", ["flux-*", "dall-e-3-t2i", "flux-*"], ("flux-*", "dall-e-3-t2i")),
        ("models", [], ()),
        ("models", None, ()),
        ("rpm", 1, 1),
        ("ipm", 1_000_000_000, 1_000_000_000),
        ("concurrency", None, None),
        ("budget_day", 5, 5_000_000),
        ("budget_day", 0, 0),
        ("budget_day", 0.1, 100_000),
        ("budget_month", "0.000001", 1),
        ("budget_month", "12.345678", 12_345_678),
        ("budget_month", 999_999_999.999999, 999_999_999_999_999),
        ("expires", "2027-02-01T00:00:00Z", 1_801_440_000.0),
        ("expires", "2027-02-01 01:00:00.5+01:00", 1_801_440_000.5),
        ("expires", 1_801_440_000, 1_801_440_000.0),
        ("expires", "1801440001.5", 1_801_440_001.5),
        ("coercion", "strict", Policy.STRICT),
        ("coercion", None, None),
        ("disabled", True, True),
        ("disabled", None, False),
    ],
)
def test_a_field_is_read(field: str, value: object, read: object) -> None:
    assert getattr(read_terms({field: value}, Terms(), NOW), field) == read


WRONG = [
    ("models", ["flux *"]),
    ("models", ["x" * 201]),
    ("models", ["a"] * 101),
    ("models", "flux-*"),
    ("models", [1]),
    ("models", ["a\nb"]),
    ("rpm", 0),
    ("rpm", -1),
    ("rpm", 1.5),
    ("rpm", "60"),
    ("rpm", True),
    ("ipm", 1_000_000_001),
    ("concurrency", {}),
    ("budget_day", -1),
    ("budget_day", "0.0000001"),
    ("budget_day", "1e-7"),
    ("budget_day", float("nan")),
    ("budget_day", "Infinity"),
    ("budget_day", "five"),
    ("budget_day", "1_000"),
    ("budget_day", " 5 "),
    ("budget_day", "\u0661\u0662"),
    ("budget_day", True),
    ("budget_day", []),
    ("budget_day", "1" * 31),
    ("budget_month", 1e10),
    ("expires", "tomorrow"),
    ("expires", "2027-02-01"),
    ("expires", "2027-02-01T00:00:00"),
    ("expires", "2027-13-01T00:00:00Z"),
    ("expires", NOW),
    ("expires", 3600),
    ("expires", -1),
    ("expires", 1e300),
    ("expires", "9999-12-31T23:59:59-23:59"),
    ("expires", "9999-12-31T23:59:59.999999Z"),
    ("expires", True),
    ("coercion", "rough"),
    ("coercion", 1),
    ("disabled", "yes"),
    ("disabled", 1),
    ("rpn", 1),
    ("", 1),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_what_is_refused_is_named(field: str, value: object) -> None:
    with pytest.raises(GatewayError) as refusal:
        read_terms({field: value}, Terms(), NOW)

    assert (refusal.value.kind, refusal.value.param) == (Kind.INVALID_VALUE, field)


def test_what_is_not_given_stays() -> None:
    before = Terms(("a",), 1, 2, 3, 4, 5, NOW + 1, Policy.STRICT, disabled=True)

    assert read_terms({}, before, NOW) == before
    assert read_terms({"rpm": 9}, before, NOW) == Terms(("a",), 9, 2, 3, 4, 5, NOW + 1, Policy.STRICT, disabled=True)
    assert read_terms(dict.fromkeys(FIELDS), before, NOW) == Terms()


@given(micro=st.integers(0, 10**15), seconds=st.integers(int(NOW) + 1, 4_000_000_000))
def test_what_is_told_is_read_as_the_same(micro: int, seconds: int) -> None:
    terms = Terms(("flux-*",), 1, 2, 3, micro, micro, float(seconds), Policy.NEAREST)

    assert read_terms(told_terms(terms), Terms(), NOW) == terms


@pytest.mark.parametrize("name", ["a", "design", "0", "team-1.x_y", "a" * 63])
def test_a_name(name: str) -> None:
    assert read_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "-a", "a b", "a/b", "a" * 64, "é", "a\n", 1, ["a"], "a'--", "%00", "\x00"])
def test_a_wrong_name_is_refused(name: object) -> None:
    with pytest.raises(GatewayError, match="name must be"):
        read_name(name)


def test_a_missing_name_is_told_so() -> None:
    with pytest.raises(GatewayError) as refusal:
        read_name(None)

    assert (refusal.value.kind, refusal.value.param) == (Kind.MISSING_PARAMETER, "name")


@pytest.mark.parametrize("field", ["rpm", "ipm", "concurrency", "budget_day", "budget_month"])
def test_a_key_may_have_as_much_as_its_team_and_no_more(field: str) -> None:
    check_within(Terms(**{field: 5_000_000}), Terms(**{field: 5_000_000}))  # type: ignore[arg-type]
    check_within(Terms(**{field: 5_000_000}), Terms())  # type: ignore[arg-type]
    check_within(Terms(), Terms(**{field: 1}))  # type: ignore[arg-type]
    with pytest.raises(GatewayError) as refusal:
        check_within(Terms(**{field: 5_000_001}), Terms(**{field: 5_000_000}))  # type: ignore[arg-type]

    assert refusal.value.param == field


@pytest.mark.parametrize(("value", "read"), [(None, 86_400), (0, 0), (60, 60), (2_592_000, 2_592_000)])
def test_an_overlap(value: object, read: int) -> None:
    assert read_overlap(value) == read


@pytest.mark.parametrize("value", [-1, 1.5, "60", True, 2_592_001])
def test_a_wrong_overlap_is_refused(value: object) -> None:
    with pytest.raises(GatewayError, match="overlap"):
        read_overlap(value)


def test_times_and_periods_are_those_of_utc() -> None:
    assert told_time(NOW) == "2027-01-15T08:00:00.000Z"
    assert told_time(None) is None
    assert read_time("x", told_time(NOW)) == NOW
    assert (day_of(NOW), month_of(day_of(NOW))) == ("2027-01-15", "2027-01")


@pytest.mark.parametrize("limit", ["0", "101", "-1", "1.5", "x", "²", "1e1", "1" * 100])
def test_a_wrong_limit_is_refused(limit: str) -> None:
    with pytest.raises(GatewayError, match="limit must be"):
        read_wanted(limit, None)


def test_a_page_and_its_next() -> None:
    found = [{"id": number} for number in range(3)]

    assert read_wanted(None, "") == Wanted(20, None)
    assert read_wanted(str(MOST), "x") == Wanted(100, "x")
    assert page_of(found, Wanted(2), "id") == Page(found[:2], "1")
    assert page_of(found, Wanted(3), "id") == Page(found)
    assert Page(found).told() == {"object": "list", "data": found, "has_more": False, "next": None}


def test_what_is_sought() -> None:
    sought = read_sought({"team": "a", "state": "", "since": "2027-01-15T08:00:00Z", "until": "1800000001"})

    assert (sought.team, sought.state, sought.since, sought.until) == ("a", None, NOW, NOW + 1)
    with pytest.raises(GatewayError, match="since must be"):
        read_sought({"since": "yesterday"})
