"""The ledger in the durable store: what is held, sent, paid, and for whom.

Money moves in the same transaction as the row that it belongs to, and each move is conditional on the row's version,
so that it happens once whoever tries it, however often.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Connection,
    Double,
    Insert,
    Select,
    Text,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from gateway.adapters.database import Database
from gateway.adapters.money import COLUMNS, correct, generation_of, moves_of
from gateway.adapters.tables import GENERATIONS, WORKERS, now
from gateway.adapters.upserts import insert_into
from gateway.core.budgets import budgets_of, exhausted
from gateway.core.days import day_of
from gateway.core.errors import GatewayError, Kind
from gateway.core.ledger import RETRIED_WITHIN, Draft, Ending, Generation, State, earlier
from gateway.core.limits import LEASE
from gateway.ports import Clock, EarlierError

_G: Final = GENERATIONS.c
_MOST_EARLIER: Final = 50
_MOST_UNSETTLED: Final = 1000
_FORGET_WORKERS_AFTER: Final = 86_400.0
_NOT_SENT: Final = GatewayError(Kind.STORE_UNAVAILABLE, "The gateway's database was away; nothing was sent.")

# The latest rows of a fingerprint or an attempt, each with the database's time.
_LATEST: Final = (
    select(*COLUMNS, now().label("now"))
    .where(_G.fingerprint == bindparam("fingerprint"), _G.created > now() - RETRIED_WITHIN)
    .order_by(_G.created.desc())
    .limit(_MOST_EARLIER)
)
_OF_ATTEMPT: Final = (
    select(*COLUMNS, now().label("now")).where(_G.attempt == bindparam("of")).order_by(_G.created.desc())
)
_INSERT: Final = insert(GENERATIONS).values(created=now(), sent=now())
# Not by its version: a move that nobody heard of, for the database was slow to say so, was our own.
_OURS: Final = (_G.owner == bindparam("by")) & _G.finished.is_(None)
# What 302 said is taken from anybody who brings it while nobody has, and when nobody hoped for it any more.
_SAID: Final = bindparam("is_known", type_=Boolean) & (_G.finished.is_(None) | (_G.state == State.UNKNOWN.value))
_END: Final = (
    update(GENERATIONS)
    .where(_G.id == bindparam("row"), _OURS | _SAID)
    .values(
        state=bindparam("state"),
        version=_G.version + 1,
        finished=now(),
        actual=bindparam("actual"),
        url=bindparam("url"),
        error_code=bindparam("error_code"),
        error_message=bindparam("error_message"),
        request_id=func.coalesce(bindparam("request_id", type_=Text), _G.request_id),
    )
)


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
        self, database: Database, clock: Clock, owner: str, *, unknown_hold: float, lease: float = LEASE
    ) -> None:
        self._database: Final = database
        self._clock: Final = clock
        self._owner: Final = owner
        self._unknown_hold: Final = unknown_hold
        self._lease: Final = lease
        self._is_known = False

    async def reserve(self, draft: Draft, upstream_key: str) -> Generation:
        """Hold the price and write that the call is being sent, in one transaction.

        Raises:
            EarlierError: with the generation that is to be joined or told again instead.
            GatewayError: `insufficient_quota`.
            DatabaseUnavailableError: nothing may be sent; the row may be there all the same, so `cancel` it.
        """
        day = day_of(self._clock.now())
        result = await self._database.write(lambda connection: self._reserve(connection, draft, upstream_key, day))
        if isinstance(result, Exception):
            raise result
        return result

    async def cancel(self, draft: Draft) -> None:
        """Let go of what was reserved and not sent, if it was reserved at all."""

        def work(connection: Connection) -> None:
            row = _one(connection, select(*COLUMNS).where(_G.id == draft.id))
            if row is not None and row.finished is None:
                _end(connection, row, Ending(State.FAILED, 0, error=_NOT_SENT))

        await self._database.write(work)

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
        return await self._database.write(lambda connection: _end(connection, row, ending))

    async def keep(self, row: Generation, url: str) -> None:
        """Note where the picture lies now."""
        await self._database.write(
            lambda connection: connection.execute(update(GENERATIONS).where(_G.id == row.id).values(url=url))
        )

    async def correct(self, row: Generation, actual: int) -> None:
        """Replace the planned cost of what has ended by the billed one; settle an unknown outcome by its bill."""
        await self._database.write(lambda connection: correct(connection, row, actual))

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
        self, connection: Connection, draft: Draft, upstream_key: str, day: str
    ) -> Generation | EarlierError | GatewayError:
        found = [*connection.execute(_LATEST, {"fingerprint": draft.fingerprint})]
        if draft.attempt is not None:
            found = [*connection.execute(_OF_ATTEMPT, {"of": draft.attempt}), *found]
        if found:
            rows = [generation_of(row) for row in found]
            if (before := earlier(draft, rows, found[0].now, self._unknown_hold)) is not None:
                draft.bill.hold(draft.id, draft.reserved)
                return EarlierError(before)
        if draft.refusal is not None:
            return draft.refusal
        budgets = budgets_of(draft.caller, day)
        moves = moves_of(connection)
        if (used_up := moves.used_up(budgets, draft.bill.open(draft.id))) is not None:
            return exhausted(used_up, day)
        draft.bill.hold(draft.id, draft.reserved)
        values: dict[str, Any] = {
            "id": draft.id,
            "flight": draft.flight,
            "fingerprint": draft.fingerprint,
            "attempt": draft.attempt,
            "key": draft.caller.key,
            "team": draft.caller.team,
            "model": draft.model,
            "state": State.SENT.value,
            "version": 1,
            "owner": self._owner,
            "upstream_key": upstream_key or None,
            "ttl": draft.ttl,
            "day": day,
            "reserved": draft.reserved,
        }
        if not self._is_known:  # a row whose owner nobody knows is an orphan
            self._renew(connection)
        connection.execute(_INSERT, values)
        moves.hold(budgets, draft.reserved)
        at, unset = self._clock.now(), dict.fromkeys(Generation.__struct_fields__)
        return Generation(**{**unset, **values, "state": State.SENT, "created": at, "sent": at})

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


def _end(connection: Connection, row: Generation, ending: Ending) -> bool:
    values = {
        "row": row.id,
        "by": row.owner,
        "is_known": ending.actual is not None,
        "state": ending.state.value,
        "actual": ending.actual,
        "url": ending.url,
        "error_code": ending.error.kind.row.code if ending.error else None,
        "error_message": ending.error.message if ending.error else None,
        "request_id": ending.request_id or None,
    }
    if connection.execute(_END, values).rowcount == 0:
        return ending.url is not None and _came_late(connection, row, ending.url)
    if ending.actual is not None:
        drawn = int(ending.url is not None)
        moves_of(connection).settle(row, held=-row.reserved, spent=ending.actual, images=drawn)
    return True


def _came_late(connection: Connection, row: Generation, url: str) -> bool:
    """A picture that was billed already when nobody hoped for it any more."""
    paid = (_G.id == row.id) & (_G.state == State.FAILED.value) & (_G.actual > 0)
    values = {"state": State.SUCCEEDED.value, "url": url, "error_code": None, "error_message": None}
    return connection.execute(update(GENERATIONS).where(paid).values(values)).rowcount > 0


def _one(connection: Connection, statement: Any) -> Generation | None:  # noqa: ANN401 - a select or an update
    row = connection.execute(statement).first()
    return None if row is None else generation_of(row)


def _all(connection: Connection, query: Select[Any]) -> list[Generation]:
    return [generation_of(row) for row in connection.execute(query)]
