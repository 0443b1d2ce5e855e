"""The ledger in the durable store: what is held, sent, paid, and for whom.

Money moves in the same transaction as the row that it belongs to, and each move is conditional on the row's version,
so that it happens once whoever tries it, however often.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, Double, Insert, Select, bindparam, delete, or_, select, update

from gateway.adapters.database import Database
from gateway.adapters.endings import end_each
from gateway.adapters.holds import Holds, Wanted
from gateway.adapters.money import COLUMNS, correct, generation_of
from gateway.adapters.tables import GENERATIONS, WORKERS, now
from gateway.adapters.upserts import insert_into
from gateway.adapters.writer import Transaction
from gateway.core.days import day_of
from gateway.core.errors import GatewayError, Kind
from gateway.core.ledger import RETRIED_WITHIN, Draft, Ending, Generation, State
from gateway.core.limits import LEASE
from gateway.ports import Clock, EarlierError

_G: Final = GENERATIONS.c
_MOST_UNSETTLED: Final = 1000
_FORGET_WORKERS_AFTER: Final = 86_400.0
_NOT_SENT: Final = GatewayError(Kind.STORE_UNAVAILABLE, "The gateway's database was away; nothing was sent.")


@cache
def _beat(dialect: str) -> Insert:
    upsert = insert_into(WORKERS, dialect).values(lease_until=now() + bindparam("lease", type_=Double))
    renewed = {"lease_until": upsert.excluded.lease_until}
    statement: Insert = upsert.on_conflict_do_update(index_elements=["id"], set_=renewed)
    return statement


_ORPHANS: Final = select(*COLUMNS).join(WORKERS, WORKERS.c.id == _G.owner, isouter=True).where(_G.finished.is_(None))
_LEFT: Final = WORKERS.c.id.is_(None)


class SqlLedger:
    """The ledger as one worker writes it; `owner` is the worker's name."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        owner: str,
        *,
        unknown_hold: float,
        longest: float = 0.0,
        lease: float = LEASE,
    ) -> None:
        """`longest` is how many seconds a generation can be in flight."""
        self._database: Final = database
        self._clock: Final = clock
        self._owner: Final = owner
        self._lease: Final = lease
        self._holds: Final = Holds(clock, owner, unknown_hold, max(RETRIED_WITHIN, unknown_hold + longest))
        self._is_known = False

    async def reserve(self, draft: Draft, upstream_key: str) -> Generation:
        """Hold the price and write that the call is being sent, in one transaction.

        Raises:
            EarlierError: with the generation that is to be joined or told again instead.
            GatewayError: `insufficient_quota`.
            DatabaseUnavailableError: nothing may be sent; the row may be there all the same, so `cancel` it.
        """
        wanted = Wanted(draft, upstream_key, day_of(self._clock.now()))
        return await self._database.write_each(self._reserve, wanted)

    async def cancel(self, draft: Draft) -> None:
        """Let go of what was reserved and not sent, if it was reserved at all."""

        def work(transaction: Transaction) -> None:
            row = _one(transaction.connection, select(*COLUMNS).where(_G.id == draft.id))
            if row is not None and row.finished is None:
                end_each(transaction, [(row, Ending(State.FAILED, 0, error=_NOT_SENT))])

        await self._database.transact(work)

    async def move(self, row: Generation, upstream_key: str) -> Generation | None:
        """Note that the call goes out on another key; the one before it sent nothing that could be billed."""
        return await self._set(row, upstream_key=upstream_key)

    async def accept(self, row: Generation, request_id: str, task_id: str) -> Generation | None:
        """Note 302's ids of a call; None where the row was taken from us. Without a task id the row's version stays."""
        changed = {"request_id": request_id or None, "task_id": task_id or None}
        if not task_id:
            return await self._set(row, version=row.version, **changed)
        return await self._set(row, state=State.ACCEPTED.value, **changed)

    async def end(self, row: Generation, ending: Ending) -> bool:
        """Note how it ended, and settle its money: once, though it be told twice.

        What 302 said is taken from anybody, whatever became of the row: a picture is paid, and never thrown away. That
        the outcome is unknown is for the row's owner alone to say.
        """
        return await self._database.write_each(end_each, (row, ending))

    async def keep(self, row: Generation, url: str) -> None:
        """Note where the picture lies now."""
        await self._database.write(
            lambda connection: connection.execute(update(GENERATIONS).where(_G.id == row.id).values(url=url))
        )

    async def correct(self, row: Generation, actual: int) -> None:
        """Replace the planned cost of what has ended by the billed one; settle an unknown outcome by its bill."""
        await self._database.transact(lambda transaction: correct(transaction, row, actual))

    async def find(self, ids: Sequence[str]) -> list[Generation]:
        """The rows of these ids."""
        return await self._database.read(lambda connection: _all(connection, select(*COLUMNS).where(_G.id.in_(ids))))

    async def beat(self) -> bool:
        """Renew this worker's lease on all it has in flight; whether it had not lapsed."""

        def work(connection: Connection) -> bool:
            alive = (WORKERS.c.id == self._owner) & (WORKERS.c.lease_until > now())
            unbroken = connection.scalar(select(WORKERS.c.id).where(alive)) is not None
            self._renew(connection)
            connection.execute(delete(WORKERS).where(WORKERS.c.lease_until < now() - _FORGET_WORKERS_AFTER))
            return unbroken

        unbroken = await self._database.write(work)
        self._is_known = True
        return unbroken

    async def leave(self) -> None:
        """Give up this worker's lease: what it still has in flight is anybody's."""
        await self._database.write(
            lambda connection: connection.execute(delete(WORKERS).where(WORKERS.c.id == self._owner))
        )

    async def orphans(self, *, lapsed: bool) -> list[Generation]:
        """What is in flight of workers that have left, with `lapsed` also of those whose lease is over."""
        query = _ORPHANS.where(or_(_LEFT, WORKERS.c.lease_until < now()) if lapsed else _LEFT)
        return await self._database.read(lambda connection: _all(connection, query))

    async def adopt(self, row: Generation) -> Generation | None:
        """Make an orphan ours; None where somebody else was first."""
        return await self._set(row, owner=self._owner)

    async def unsettled(self, *, confirm: bool, since: float) -> list[Generation]:
        """Rows whose bill is to be asked for: unknown outcomes, with `confirm` also what was settled as planned."""
        wanted = [_G.state == State.UNKNOWN]
        if confirm:
            wanted.append((_G.state == State.SUCCEEDED) & (GENERATIONS.c.billed.is_(False)))
        query = select(*COLUMNS).where(or_(*wanted), _G.request_id.is_not(None), _G.created > since)
        query = query.order_by(_G.created.desc()).limit(_MOST_UNSETTLED)
        return await self._database.read(lambda connection: _all(connection, query))

    def _reserve(
        self, transaction: Transaction, wanted: Sequence[Wanted]
    ) -> list[Generation | EarlierError | GatewayError]:
        if not self._is_known:  # a row whose owner nobody knows is an orphan
            self._renew(transaction.connection)
        return self._holds.each(transaction, wanted)

    def _renew(self, connection: Connection) -> None:
        connection.execute(_beat(connection.dialect.name), {"id": self._owner, "lease": self._lease})

    async def _set(self, row: Generation, **values: str | int | None) -> Generation | None:
        statement = (
            update(GENERATIONS)
            .where(_G.id == row.id, _G.version == row.version, _G.finished.is_(None))
            .values(**{"version": row.version + 1, **values})
            .returning(*COLUMNS)
        )
        return await self._database.write(lambda connection: _one(connection, statement))


def _one(connection: Connection, statement: Any) -> Generation | None:  # noqa: ANN401 - a select or an update
    row = connection.execute(statement).first()
    return None if row is None else generation_of(row)


def _all(connection: Connection, query: Select[Any]) -> list[Generation]:
    return [generation_of(row) for row in connection.execute(query)]
