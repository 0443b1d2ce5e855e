"""Money and usage that one transaction moves: added up over all its jobs, and written once before the commit.

Many paid calls share a commit, and most of them the same few budgets; a row each would cost more than all the rest.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, bindparam, select, update

from gateway.adapters.database import before_commit
from gateway.adapters.tables import BUDGETS, GENERATIONS, USAGE
from gateway.adapters.upserts import add
from gateway.core.budgets import Budget, budgets_of
from gateway.core.keys import Caller
from gateway.core.ledger import Generation, State

_G: Final = GENERATIONS.c
COLUMNS: Final = tuple(_G[name] for name in Generation.__struct_fields__)
"""What `generation_of` wants of a row."""
_TAKEN: Final = select(BUDGETS.c.owner, BUDGETS.c.period, BUDGETS.c.spent + BUDGETS.c.held).where(
    BUDGETS.c.owner.in_(bindparam("owners", expanding=True)), BUDGETS.c.period.in_(bindparam("periods", expanding=True))
)

_Place = tuple[str, str]


class Moves:
    """What the jobs of one transaction have moved so far."""

    def __init__(self, connection: Connection) -> None:
        self._connection: Final = connection
        self._taken: Final[dict[_Place, int]] = {}
        self._budgets: Final[defaultdict[_Place, list[int]]] = defaultdict(lambda: [0, 0])
        self._usage: Final[defaultdict[tuple[str, str, str, str], list[int]]] = defaultdict(lambda: [0, 0])

    def used_up(self, budgets: Iterable[Budget], price: int) -> Budget | None:
        """The budget that has not enough left for a price in micro-USD; None where all have."""
        limited = [budget for budget in budgets if budget.most is not None]
        self._learn([one for one in limited if (one.owner, one.period) not in self._taken])
        for one in limited:
            held, spent = self._budgets.get((one.owner, one.period), (0, 0))
            if self._taken[one.owner, one.period] + held + spent + price > (one.most or 0):
                return one
        return None

    def hold(self, budgets: Iterable[Budget], price: int) -> None:
        """Hold a price in micro-USD on budgets."""
        for one in budgets:
            self._budgets[one.owner, one.period][0] += price

    def settle(self, row: Generation, *, held: int, spent: int, images: int) -> None:
        """Move what a generation has held and spent, and count its use."""
        for one in budgets_of(Caller(row.key, row.team), row.day):
            sums = self._budgets[one.owner, one.period]
            sums[0] += held
            sums[1] += spent
        used = self._usage[row.day, row.team, row.key, row.model]
        used[0] += images
        used[1] += spent

    def write(self, connection: Connection) -> None:
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
            add(connection, BUDGETS, budgets, ("held", "spent"))
        if usage:
            add(connection, USAGE, usage, ("images", "cost"))

    def _learn(self, budgets: Sequence[Budget]) -> None:
        if not budgets:
            return
        where = {"owners": [one.owner for one in budgets], "periods": [one.period for one in budgets]}
        self._taken.update(((one.owner, one.period), 0) for one in budgets)
        for owner, period, taken in self._connection.execute(_TAKEN, where):
            if (owner, period) in self._taken:
                self._taken[owner, period] = taken


def moves_of(connection: Connection) -> Moves:
    """The moves of the transaction that is under way."""
    return before_commit(connection, Moves)


def correct(connection: Connection, row: Generation, actual: int) -> bool:
    """Replace the cost of what has ended by `actual`, an unknown outcome's hold too; False where the row has moved."""
    unknown = row.state is State.UNKNOWN
    values: dict[str, Any] = {"actual": actual, "billed": True, "version": row.version + 1}
    if unknown:
        values["state"] = State.FAILED.value
    still = (_G.id == row.id) & (_G.version == row.version) & (_G.state == row.state.value)
    if connection.execute(update(GENERATIONS).where(still).values(values)).rowcount == 0:
        return False
    held, before = (-row.reserved, 0) if unknown else (0, row.actual or 0)
    moves_of(connection).settle(row, held=held, spent=actual - before, images=0)
    return True


def generation_of(row: Row[Any]) -> Generation:
    """A row that begins with `COLUMNS`."""
    found = Generation(*row[: len(COLUMNS)])
    return msgspec.structs.replace(found, state=State(found.state))
