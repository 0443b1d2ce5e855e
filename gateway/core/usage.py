"""What was used, as it is asked for and told: sums by day, team, key and model, in any combination."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal, cast

from gateway.core.catalogue import MICRO
from gateway.core.errors import invalid_value

Json = dict[str, Any]

GROUPS: Final = ("day", "team", "key", "model")
COUNTERS: Final = ("requests", "images", "cached", "joined", "failed", "cost", "saved")
"""Requests, pictures paid for, those from the cache and from others' calls, failed requests; micro-USD paid, spared."""
FORMATS: Final = ("json", "csv")
_MONEY: Final = ("cost", "saved")
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")

Format = Literal["json", "csv"]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which sums: `by` these columns, in this order, of days from `since` and before `until`."""

    by: tuple[str, ...] = GROUPS
    team: str | None = None
    key: str | None = None
    model: str | None = None
    since: str | None = None
    until: str | None = None
    format: Format = "json"


def read_asked(query: Mapping[str, str]) -> Asked:
    """The sums that a query asks for.

    Raises:
        GatewayError: `invalid_value`, naming the parameter.
    """
    by = tuple(part.strip() for part in query["by"].split(",")) if query.get("by") else GROUPS
    if len(set(by)) != len(by) or not set(by) <= set(GROUPS):
        raise invalid_value("by", f"by must be some of {','.join(GROUPS)}, with commas.")
    form = query.get("format") or FORMATS[0]
    if form not in FORMATS:
        raise invalid_value("format", f"format must be one of {', '.join(FORMATS)}.")
    words = {name: query.get(name) or None for name in GROUPS[1:]}
    since, until = (_day(name, query.get(name)) for name in ("since", "until"))
    return Asked(by, **words, since=since, until=until, format=cast("Format", form))


def told_usage(row: Mapping[str, Any]) -> Json:
    """A row of sums as it is answered; money in USD."""
    groups = {name: row[name] for name in GROUPS if name in row}
    counters = {name: int(row[name] or 0) for name in COUNTERS}
    return groups | counters | {name: counters[name] / MICRO for name in _MONEY}


def as_csv(rows: Sequence[Json], by: Sequence[str]) -> str:
    """Rows as CSV with a head; money with six decimals."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([*by, *COUNTERS])
    for row in rows:
        writer.writerow([*(_harmless(row[name]) for name in by), *(_number(name, row[name]) for name in COUNTERS)])
    return text.getvalue()


def _number(name: str, value: float) -> str:
    return f"{value:.6f}" if name in _MONEY else str(value)


def _harmless(word: str) -> str:
    """No formula: spreadsheets would run what begins so."""
    return f"'{word}" if word[:1] in {"=", "+", "-", "@", "\t", "\r"} else word


def _day(name: str, text: str | None) -> str | None:
    if not text:
        return None
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    raise invalid_value(name, f"{name} must be a day of UTC like 2026-11-22.")
