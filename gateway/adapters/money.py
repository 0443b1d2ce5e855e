"""Money and usage that one transaction moves: added up over all its jobs, and written once before the commit.

Many paid calls share a commit, and most of them the same few budgets; a row each would cost more than all the rest.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import bindparam, select, union_all, update

from gateway.adapters.prepared import prepared
from gateway.adapters.tables import BUDGETS, GENERATIONS, USAGE
from gateway.adapters.upserts import add
from gateway.adapters.writer import Transaction, before_commit
from gateway.core.budgets import Budget, budgets_of
from gateway.core.keys import Caller
from gateway.core.ledger import Generation, State

_G: Final = GENERATIONS.c
COLUMNS: Final = tuple(_G[name] for name in Generation.__struct_fields__)
"""What `generation_of` wants of a row."""
_STATE: Final = Generation.__struct_fields__.index("state")
# Four look-ups, not two INs: for each list SQLite would build an ephemeral table, which costs more than all the rest of
# a commit's statements.
_TAKEN: Final = prepared(
    union_all(
        *(
            select(BUDGETS.c.owner, BUDGETS.c.period, BUDGETS.c.spent + BUDGETS.c.held).where(
                BUDGETS.c.owner == bindparam(owner), BUDGETS.c.period == bindparam(period)
            )
            for owner in ("team", "key")
            for period in ("day", "month")
        )
    )
)

_Place = tuple[str, str]


class Moves:
    """What the jobs of one transaction have moved so far."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction: Final = transaction
        self._taken: Final[dict[_Place, int]] = {}
        self._budgets: Final[dict[_Place, list[int]]] = {}
        self._usage: Final[dict[tuple[str, str, str, str], list[int]]] = {}

    def used_up(self, caller: Caller, day: str, price: int) -> Budget | None:
        """The budget of a caller that has not enough left for a price in micro-USD; None where all have."""
        for one in _limited(caller, day):
            if (one.owner, one.period) not in self._taken:
                self._learn(caller, day)
            held, spent = self._budgets.get((one.owner, one.period), (0, 0))
            if self._taken[one.owner, one.period] + held + spent + price > (one.most or 0):
                return one
        return None

    def hold(self, caller: Caller, day: str, price: int) -> None:
        """Hold a price in micro-USD on the budgets of a caller."""
        for place in _places(caller.key, caller.team, day):
            self._budgets.setdefault(place, [0, 0])[0] += price

    def settle(self, row: Generation, *, held: int, spent: int, images: int) -> None:
        """Move what a generation has held and spent, in micro-USD, and count its use."""
        for place in _places(row.key, row.team, row.day):
            sums = self._budgets.setdefault(place, [0, 0])
            sums[0] += held
            sums[1] += spent
        used = self._usage.setdefault((row.day, row.team, row.key, row.model), [0, 0])
        used[0] += images
        used[1] += spent

    def write(self) -> None:
        """Write the sums."""
        budgets = [
            {"owner": owner, "period": period, "held": held, "spent": spent}
            for (owner, period), (held, spent) in self._budgets.items()
            if held or spent
        ]
        usage = [
            {"day": day, "team": team, "key": key, "model": model, "images": images, "cost": cost}
            for (day, team, key, model), (images, cost) in self._usage.items()
            if images or cost
        ]
        if budgets:
            add(self._transaction, BUDGETS, budgets, ("held", "spent"))
        if usage:
            add(self._transaction, USAGE, usage, ("images", "cost"))

    def _learn(self, caller: Caller, day: str) -> None:
        places = _places(caller.key, caller.team, day)
        (team, today), (_, month), (key, _), _ = places  # in the order of `budgets_of`
        self._taken.update(dict.fromkeys(places, 0))
        values = {"team": team, "key": key, "day": today, "month": month}
        for owner, period, taken in _TAKEN.rows(self._transaction, values):
            self._taken[owner, period] = taken


def moves_of(transaction: Transaction) -> Moves:
    """The moves of the transaction that is under way."""
    return before_commit(transaction, Moves)


def correct(transaction: Transaction, row: Generation, actual: int) -> bool:
    """Replace the cost of what has ended by `actual`, an unknown outcome's hold too; False where the row has moved."""
    unknown = row.state is State.UNKNOWN
    values: dict[str, Any] = {"actual": actual, "billed": True, "version": row.version + 1}
    if unknown:
        values["state"] = State.FAILED.value
    still = (_G.id == row.id) & (_G.version == row.version) & (_G.state == row.state.value)
    if transaction.connection.execute(update(GENERATIONS).where(still).values(values)).rowcount == 0:
        return False
    held, before = (-row.reserved, 0) if unknown else (0, row.actual or 0)
    moves_of(transaction).settle(row, held=held, spent=actual - before, images=0)
    return True


def generation_of(row: Sequence[Any]) -> Generation:
    """A row that begins with `COLUMNS`."""
    values = [*row[: len(COLUMNS)]]
    values[_STATE] = State(values[_STATE])
    return Generation(*values)


@lru_cache(1024)
def _places(key: str, team: str, day: str) -> tuple[_Place, ...]:
    return tuple((one.owner, one.period) for one in budgets_of(Caller(key, team), day))


@lru_cache(1024)
def _limited(caller: Caller, day: str) -> tuple[Budget, ...]:
    return tuple(budget for budget in budgets_of(caller, day) if budget.most is not None)
