"""How the terms of teams and keys are read and told: by the admin API, the commands and the teams file alike.

Whatever is refused is named by its field. Money comes and goes in USD and is micro-USD within; times come as RFC 3339
or in seconds since 1970, and go as RFC 3339.
"""

import contextlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from gateway.core.catalogue import MICRO
from gateway.core.coerce import Policy
from gateway.core.errors import GatewayError, Kind, invalid_value
from gateway.core.keys import Terms

Json = dict[str, Any]

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
MOST_OVERLAP: Final = 30 * 86_400
USUAL_OVERLAP: Final = 86_400
"""Seconds for which a rotated key's old secret is good, at most and unless it is said."""
_GLOB: Final = re.compile(r"[A-Za-z0-9*?!\[\]._:/-]{1,200}")
_MOST_GLOBS: Final = 100
_MOST: Final = 1_000_000_000
_LONGEST: Final = 30
# Decimal itself takes underscores, spaces and the digits of every script.
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)")
_LAST: Final = 253_402_300_799.0  # the end of the year 9999
_COUNTS: Final = ("rpm", "ipm", "concurrency")
_BUDGETS: Final = ("budget_day", "budget_month")
FIELDS: Final = Terms.__struct_fields__


def read_terms(data: Mapping[str, object], before: Terms, now: float) -> Terms:
    """Terms with what is given changed; null takes a term back. `now` in seconds since 1970.

    Raises:
        GatewayError: `invalid_value`, naming the field.
    """
    values: Json = {}
    for name, value in data.items():
        if name not in _READERS:
            raise invalid_value(name[:60], f"There is no field {name[:60]!r}; there are {', '.join(_READERS)}.")
        values[name] = _UNSET[name] if value is None else _READERS[name](name, value)
    if values.get("expires") is not None and values["expires"] <= now:
        raise invalid_value("expires", f"expires must be later than now, {told_time(now)}.")
    return msgspec.structs.replace(before, **values)


def read_name(value: object, field: str = "name") -> str:
    """The name of a team or key.

    Raises:
        GatewayError: `missing_parameter`, `invalid_value`.
    """
    if value is None:
        raise GatewayError(Kind.MISSING_PARAMETER, f"{field} is missing.", param=field)
    if not isinstance(value, str) or not NAME.fullmatch(value):
        wanted = "1 to 63 of a-z, 0-9, _ . and -, and begin with a letter or digit"
        raise invalid_value(field, f"{field} must be {wanted}.")
    return value


def read_overlap(value: object) -> int:
    """Seconds for which a rotated key's old secret is good.

    Raises:
        GatewayError: `invalid_value`.
    """
    if value is None:
        return USUAL_OVERLAP
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_OVERLAP:
        raise invalid_value("overlap", f"overlap must be a whole number of seconds from 0 to {MOST_OVERLAP}.")
    return value


def read_cost(data: Mapping[str, object]) -> int:
    """What a picture cost, `cost` of a body, in micro-USD.

    Raises:
        GatewayError: `missing_parameter`, `invalid_value`.
    """
    refuse_unknown(data, "cost")
    if data.get("cost") is None:
        raise GatewayError(
            Kind.MISSING_PARAMETER, "cost is missing; it is USD, 0 for what was not billed.", param="cost"
        )
    return _usd("cost", data["cost"])


def refuse_unknown(data: Mapping[str, object], *known: str) -> None:
    """Refuse fields that are not known.

    Raises:
        GatewayError: `invalid_value`, naming the field.
    """
    for name in data.keys() - set(known):
        raise invalid_value(name[:60], f"There is no field {name[:60]!r}; there is {', '.join(known)}.")


def check_within(key: Terms, team: Terms) -> None:
    """Refuse a key whose limits are above its team's.

    Raises:
        GatewayError: `invalid_value`, naming the field.
    """
    for name in (*_COUNTS, *_BUDGETS):
        of_key, of_team = getattr(key, name), getattr(team, name)
        if of_key is not None and of_team is not None and of_key > of_team:
            most = of_team if name in _COUNTS else f"{usd(of_team)} USD"
            raise invalid_value(name, f"{name} must not be more than the team's, {most}.")


def told_terms(terms: Terms) -> Json:
    """Terms as they are answered."""
    return {
        "models": list(terms.models),
        **{name: getattr(terms, name) for name in _COUNTS},
        **{name: usd(getattr(terms, name)) for name in _BUDGETS},
        "expires": told_time(terms.expires),
        "coercion": None if terms.coercion is None else str(terms.coercion),
        "disabled": terms.disabled,
    }


def told_time(seconds: float | None) -> str | None:
    """A time as RFC 3339 in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def usd(micro: int | None) -> float | None:
    """Micro-USD as USD."""
    return None if micro is None else micro / MICRO


def read_time(name: str, value: object) -> float:
    """Seconds since 1970, of RFC 3339 or as they are.

    Raises:
        GatewayError: `invalid_value`.
    """
    if isinstance(value, str) and re.fullmatch(r"\d{1,12}(\.\d{1,6})?", value):
        value = float(value)
    if isinstance(value, str) and _RFC_3339.fullmatch(value):
        with contextlib.suppress(ValueError, OverflowError):
            value = datetime.fromisoformat(value.upper()).timestamp()
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LAST:
        return float(value)
    raise invalid_value(name, f"{name} must be a time like 2027-01-31T00:00:00Z, or seconds since 1970.")


def _count(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST:
        raise invalid_value(name, f"{name} must be a whole number from 1 to {_MOST}, or null for no limit.")
    return value


def _budget(name: str, value: object) -> int:
    return _usd(name, value, ", or null for no limit")


def _usd(name: str, value: object, otherwise: str = "") -> int:
    amount = None
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        text = str(value)
        if len(text) <= _LONGEST and _NUMBER.fullmatch(text):
            with contextlib.suppress(InvalidOperation):
                amount = Decimal(text)
    if amount is None or not amount.is_finite() or not 0 <= amount <= _MOST:
        raise invalid_value(name, f"{name} must be USD from 0 to {_MOST}{otherwise}.")
    micro = amount * MICRO
    if micro != micro.to_integral_value():
        raise invalid_value(name, f"{name} must be USD with at most 6 decimals.")
    return int(micro)


def _globs(name: str, value: object) -> tuple[str, ...]:
    globs = value if isinstance(value, list) else None
    if globs is None or len(globs) > _MOST_GLOBS or not all(isinstance(g, str) and _GLOB.fullmatch(g) for g in globs):
        wanted = f'a list of at most {_MOST_GLOBS} ids or globs like "flux-*"; an empty one allows every model'
        raise invalid_value(name, f"{name} must be {wanted}.")
    return tuple(dict.fromkeys(globs))


def _policy(name: str, value: object) -> Policy:
    if value not in list(Policy):
        raise invalid_value(name, f"{name} must be one of {', '.join(Policy)}, or null for the gateway's.")
    return Policy(str(value))


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise invalid_value(name, f"{name} must be true or false.")
    return value


_READERS: Final[Mapping[str, Callable[[str, object], object]]] = {
    "models": _globs,
    **dict.fromkeys(_COUNTS, _count),
    **dict.fromkeys(_BUDGETS, _budget),
    "expires": read_time,
    "coercion": _policy,
    "disabled": _flag,
}
_UNSET: Final = {name: getattr(Terms(), name) for name in FIELDS}
