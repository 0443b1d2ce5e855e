"""Rows of teams and keys as values, and back; what every change of them leaves behind; and what adds to usage."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import Connection, RowMapping, Table, select, update

from gateway.adapters.tables import AUDIT, BUDGETS, REVISION, USAGE
from gateway.adapters.upserts import add
from gateway.adapters.writer import Transaction
from gateway.core.catalogue import MICRO
from gateway.core.coerce import Policy
from gateway.core.days import day_of, month_of
from gateway.core.keys import Terms
from gateway.core.pages import Json
from gateway.core.terms import told_terms, told_time, usd
from gateway.core.usage import COUNTERS

ROTATION: Final = "key.rotate"
FILE: Final = "file"
"""The `source` of what the teams file declares."""
TERMS: Final = Terms.__struct_fields__


@dataclass(frozen=True, slots=True)
class Change:
    """What was changed, `team:design` or `key:key_…`, and how it is told before and after; None where it was not."""

    target: str
    before: Json | None
    after: Json | None


def terms_of(row: RowMapping) -> Terms:
    """The terms in a row of teams or keys."""
    values: dict[str, Any] = {name: row[name] for name in TERMS}
    coercion = values["coercion"]
    return Terms(
        **{
            **values,
            "models": tuple(row["models"].split()),
            "coercion": Policy(coercion) if coercion else None,
        }
    )


def columns_of(terms: Terms, names: Iterable[str] = TERMS) -> dict[str, Any]:
    """Terms as columns, all or those named."""
    values = {name: getattr(terms, name) for name in names}
    if "models" in values:
        values["models"] = "\n".join(terms.models)
    if values.get("coercion") is not None:
        values["coercion"] = str(terms.coercion)
    return values


def told_team(row: RowMapping) -> Json:
    """A team as it is answered."""
    return {
        "object": "team",
        "name": row["name"],
        **told_terms(terms_of(row)),
        "source": row["source"],
        "created": told_time(row["created"]),
    }


def told_key(row: RowMapping, now: float) -> Json:
    """A key as it is answered: never its secret, nor a digest."""
    old = row["old_until"] is not None and row["old_until"] > now
    return {
        "object": "key",
        "id": row["id"],
        "team": row["team"],
        "name": row["name"],
        "last_four": row["last_four"],
        **told_terms(terms_of(row)),
        "revoked": told_time(row["revoked"]),
        "old_secret_until": told_time(row["old_until"]) if old else None,
        "source": row["source"],
        "created": told_time(row["created"]),
    }


def with_standings(connection: Connection, told: Sequence[Json], now: float) -> list[Json]:
    """Teams and keys as they are told, with what is spent, held and left of their budgets today and this month."""
    owners = [f"team:{one['name']}" if one["object"] == "team" else f"key:{one['id']}" for one in told]
    periods = {"day": day_of(now), "month": month_of(day_of(now))}
    which = BUDGETS.c.owner.in_(owners) & BUDGETS.c.period.in_(periods.values())
    found = {(row.owner, row.period): row for row in connection.execute(select(BUDGETS).where(which))}

    def standing(owner: str, period: str, budget: float | None) -> Json:
        row = found.get((owner, period))
        spent, held = (row.spent, row.held) if row is not None else (0, 0)
        left = None if budget is None else max(0, round(budget * MICRO) - spent - held)
        return {"period": period, "budget": budget, "spent": usd(spent), "held": usd(held), "remaining": usd(left)}

    return [
        one | {"budgets": {name: standing(owner, period, one[f"budget_{name}"]) for name, period in periods.items()}}
        for owner, one in zip(owners, told, strict=True)
    ]


def bump(connection: Connection) -> int:
    """The next revision, by which all workers learn of a change."""
    one_more = update(REVISION).values(newest=REVISION.c.newest + 1).returning(REVISION.c.newest)
    newest: int = connection.execute(one_more).scalar_one()
    return newest


def write_down(connection: Connection, at: float, actor: str, action: str, change: Change) -> None:
    """Leave an audit row of a change, if there was any; one of a secret shows in nothing that is told."""
    before, after = (None if told is None else orjson.dumps(told).decode() for told in (change.before, change.after))
    if before != after or action == ROTATION:
        values = {"at": at, "actor": actor, "action": action, "target": change.target}
        connection.execute(AUDIT.insert().values(**values, before=before, after=after))


def one(connection: Connection, table: Table, column: str, value: str) -> RowMapping | None:
    """A row of a table by a unique column."""
    if not value.isprintable():  # PostgreSQL takes no NUL
        return None
    return connection.execute(select(table).where(table.c[column] == value)).mappings().one_or_none()


def add_usage(transaction: Transaction, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add to the counters of rows, which are made where they are missing.

    Each row has `day`, `team`, `key`, `model` and some counters, the same in all.
    """
    add(transaction, USAGE, rows, tuple(name for name in COUNTERS if name in rows[0]))
