"""Budgets: whose money a generation is, by day and month of UTC, and what is said when one is used up."""

from dataclasses import dataclass

from gateway.core.catalogue import MICRO
from gateway.core.days import month_of, next_month
from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import Caller


@dataclass(frozen=True, slots=True)
class Budget:
    """What an owner, `team:<name>` or `key:<id>`, may spend in a period; `most` in micro-USD, None being no limit."""

    owner: str
    period: str
    most: int | None


def budgets_of(caller: Caller, day: str) -> tuple[Budget, ...]:
    """The four budgets of a caller on a day; spending is counted where nothing limits it too, for a limit may come."""
    owners = ((f"team:{caller.team}", caller.team_terms), (f"key:{caller.key}", caller.key_terms))
    return tuple(
        Budget(owner, period, most)
        for owner, terms in owners
        for period, most in ((day, terms.budget_day), (month_of(day), terms.budget_month))
    )


def exhausted(budget: Budget, day: str) -> GatewayError:
    """What a caller is told whose budget has not enough left for the picture."""
    owner, _, name = budget.owner.partition(":")
    if budget.period == day:
        length, anew = "day", "0:00 UTC"
    else:
        length, anew = "month", next_month(day)
    amount = f"{(budget.most or 0) / MICRO:g} USD"
    whose = f"team {name}" if owner == "team" else "this key"
    message = (
        f"The {length}'s budget of {whose}, {amount}, has not enough left for this picture; it begins anew at {anew}."
    )
    return GatewayError(Kind.INSUFFICIENT_QUOTA, message)
