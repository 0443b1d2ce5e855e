"""The ledger in the durable store: what is held, sent, paid, and for whom.

Money moves in the same transaction as the row that it belongs to, and each move is conditional on the row's version,
so that it happens once whoever tries it, however often.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, Table, bindparam, delete, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from gateway.adapters.database import Database
from gateway.adapters.tables import BUDGETS, GENERATIONS, USAGE, WORKERS, now
from gateway.core.budgets import Budget, budgets_of, exhausted
from gateway.core.errors import GatewayError
from gateway.core.keys import Caller
from gateway.core.ledger import RETRIED_WITHIN, Draft, Ending, Generation, State, day_of, earlier
from gateway.core.limits import LEASE
from gateway.ports import Clock, EarlierError

_G: Final = GENERATIONS.c
_COLUMNS: Final = tuple(_G[name] for name in Generation.__struct_fields__)
_MOST_EARLIER: Final = 50
_MOST_UNSETTLED: Final = 1000
_FORGET_WORKERS_AFTER: Final = 86_400.0

# The latest rows of a fingerprint or an attempt, each with the database's time.
_LATEST: Final = (
    select(*_COLUMNS, now().label("now"))
    .where(_G.fingerprint == bindparam("fingerprint"), _G.created > now() - RETRIED_WITHIN)
    .order_by(_G.created.desc())
    .limit(_MOST_EARLIER)
)
_OF_ATTEMPT: Final = (
    select(*_COLUMNS, now().label("now")).where(_G.attempt == bindparam("of")).order_by(_G.created.desc())
)
_SPENT: Final = select(BUDGETS.c.owner, BUDGETS.c.period, BUDGETS.c.spent + BUDGETS.c.held).where(
    BUDGETS.c.owner.in_(bindparam("owners", expanding=True)), BUDGETS.c.period.in_(bindparam("periods", expanding=True))
)
_INSERT: Final = insert(GENERATIONS).values(created=now(), sent=now())
_ORPHANS: Final = (
    select(*_COLUMNS)
    .join(WORKERS, WORKERS.c.id == _G.owner, isouter=True)
    .where(_G.finished.is_(None), or_(WORKERS.c.id.is_(None), WORKERS.c.lease_until < now()))
)


class SqlLedger:
    """The ledger as one worker writes it; `owner` is the worker's name."""

    def __init__(self, database: Database, clock: Clock, owner: str, *, unknown_hold: float) -> None:
        self._database: Final = database
        self._clock: Final = clock
        self._owner: Final = owner
        self._unknown_hold: Final = unknown_hold

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
            row = _one(connection, select(*_COLUMNS).where(_G.id == draft.id))
            if row is not None and row.finished is None:
                _end(connection, row, Ending(State.FAILED, 0))

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

        A picture is taken from anybody, whatever became of the row: it is paid, and never thrown away.
        """
        return await self._database.write(lambda connection: _end(connection, row, ending))

    async def keep(self, row: Generation, url: str) -> None:
        """Note where the picture lies now."""
        await self._database.write(
            lambda connection: connection.execute(update(GENERATIONS).where(_G.id == row.id).values(url=url))
        )

    async def correct(self, row: Generation, actual: int) -> None:
        """Replace the planned cost of what has ended by the billed one; settle an unknown outcome by its bill."""
        await self._database.write(lambda connection: _correct(connection, row, actual))

    async def find(self, ids: Sequence[str]) -> list[Generation]:
        """The rows of these ids."""
        return await self._database.read(lambda connection: _all(connection, select(*_COLUMNS).where(_G.id.in_(ids))))

    async def beat(self) -> None:
        """Renew this worker's lease on all it has in flight."""

        def work(connection: Connection) -> None:
            values = {"id": self._owner, "lease_until": now() + LEASE}
            upsert = _dialect(connection).insert(WORKERS).values(values)
            connection.execute(
                upsert.on_conflict_do_update(index_elements=["id"], set_={"lease_until": upsert.excluded.lease_until})
            )
            connection.execute(delete(WORKERS).where(WORKERS.c.lease_until < now() - _FORGET_WORKERS_AFTER))

        await self._database.write(work)

    async def leave(self) -> None:
        """Give up this worker's lease: what it still has in flight is anybody's."""
        await self._database.write(
            lambda connection: connection.execute(delete(WORKERS).where(WORKERS.c.id == self._owner))
        )

    async def orphans(self) -> list[Generation]:
        """What is in flight without a living worker."""
        return await self._database.read(lambda connection: _all(connection, _ORPHANS))

    async def adopt(self, row: Generation) -> Generation | None:
        """Make an orphan ours; None where somebody else was first."""
        return await self._set(row, owner=self._owner)

    async def unsettled(self, *, confirm: bool, since: float) -> list[Generation]:
        """Rows whose bill is to be asked for: unknown outcomes, with `confirm` also what was settled as planned."""
        wanted = [_G.state == State.UNKNOWN]
        if confirm:
            wanted.append((_G.state == State.SUCCEEDED) & (GENERATIONS.c.billed.is_(False)))
        query = select(*_COLUMNS).where(or_(*wanted), _G.request_id.is_not(None), _G.created > since)
        query = query.order_by(_G.created.desc()).limit(_MOST_UNSETTLED)
        return await self._database.read(lambda connection: _all(connection, query))

    def _reserve(
        self, connection: Connection, draft: Draft, upstream_key: str, day: str
    ) -> Generation | EarlierError | GatewayError:
        found = [*connection.execute(_LATEST, {"fingerprint": draft.fingerprint})]
        if draft.attempt is not None:
            found = [*connection.execute(_OF_ATTEMPT, {"of": draft.attempt}), *found]
        if found:
            rows = [_generation(row) for row in found]
            if (before := earlier(draft, rows, found[0].now, self._unknown_hold)) is not None:
                return EarlierError(before)
        budgets = budgets_of(draft.caller, day)
        if (spent_up := _used_up(connection, budgets, draft.reserved)) is not None:
            return exhausted(spent_up, day)
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
        connection.execute(_INSERT, values)
        _move_money(connection, budgets, held=draft.reserved, spent=0)
        unset = dict.fromkeys(Generation.__struct_fields__)
        at = self._clock.now()
        return Generation(**{**unset, **values, "state": State.SENT, "created": at, "sent": at})

    async def _set(self, row: Generation, **values: str | int | None) -> Generation | None:
        statement = (
            update(GENERATIONS)
            .where(_G.id == row.id, _G.version == row.version, _G.finished.is_(None))
            .values(**{"version": row.version + 1, **values})
            .returning(*_COLUMNS)
        )
        return await self._database.write(lambda connection: _one(connection, statement))


def _end(connection: Connection, row: Generation, ending: Ending) -> bool:
    ours = (_G.version == row.version) & _G.finished.is_(None)
    if ending.url is not None:
        ours |= _G.finished.is_(None) | (_G.state == State.UNKNOWN)
    values = {
        "state": ending.state.value,
        "version": row.version + 1,
        "finished": now(),
        "actual": ending.actual,
        "url": ending.url,
        "error_code": ending.error.kind.row.code if ending.error else None,
        "error_message": ending.error.message if ending.error else None,
    }
    if ending.request_id:
        values["request_id"] = ending.request_id
    if connection.execute(update(GENERATIONS).where(_G.id == row.id, ours).values(values)).rowcount == 0:
        return ending.url is not None and _came_late(connection, row, ending.url)
    if ending.actual is None:
        return True
    _settle(connection, row, held=-row.reserved, spent=ending.actual, images=int(ending.url is not None))
    return True


def _came_late(connection: Connection, row: Generation, url: str) -> bool:
    """A picture that was billed already when nobody hoped for it any more."""
    paid = (_G.id == row.id) & (_G.state == State.FAILED.value) & (_G.actual > 0)
    values = {"state": State.SUCCEEDED.value, "url": url, "error_code": None, "error_message": None}
    return connection.execute(update(GENERATIONS).where(paid).values(values)).rowcount > 0


def _correct(connection: Connection, row: Generation, actual: int) -> None:
    unknown = row.state is State.UNKNOWN
    values: dict[str, Any] = {"actual": actual, "billed": True, "version": row.version + 1}
    if unknown:
        values["state"] = State.FAILED.value
    still = (_G.id == row.id) & (_G.version == row.version) & (_G.state == row.state.value)
    if connection.execute(update(GENERATIONS).where(still).values(values)).rowcount:
        held, before = (-row.reserved, 0) if unknown else (0, row.actual or 0)
        _settle(connection, row, held=held, spent=actual - before, images=0)


def _settle(connection: Connection, row: Generation, *, held: int, spent: int, images: int) -> None:
    _move_money(connection, budgets_of(Caller(row.key, row.team), row.day), held=held, spent=spent)
    if spent or images:
        values = {"day": row.day, "team": row.team, "key": row.key, "model": row.model, "images": images, "cost": spent}
        _add(connection, USAGE, [values], ("images", "cost"))


def _used_up(connection: Connection, budgets: Sequence[Budget], price: int) -> Budget | None:
    limited = [budget for budget in budgets if budget.most is not None]
    if not limited:
        return None
    where = {"owners": [budget.owner for budget in limited], "periods": [budget.period for budget in limited]}
    taken = {(owner, period): amount for owner, period, amount in connection.execute(_SPENT, where)}
    return next((one for one in limited if taken.get((one.owner, one.period), 0) + price > (one.most or 0)), None)


def _move_money(connection: Connection, budgets: Sequence[Budget], *, held: int, spent: int) -> None:
    rows = [{"owner": one.owner, "period": one.period, "held": held, "spent": spent} for one in budgets]
    _add(connection, BUDGETS, rows, ("held", "spent"))


def _add(connection: Connection, table: Table, rows: list[dict[str, Any]], sums: Sequence[str]) -> None:
    """Add to the sums of rows, making those that are not there."""
    upsert = _dialect(connection).insert(table)
    added = {name: table.c[name] + upsert.excluded[name] for name in sums}
    connection.execute(upsert.on_conflict_do_update(index_elements=list(table.primary_key), set_=added), rows)


def _dialect(connection: Connection) -> Any:  # noqa: ANN401 - two modules of the same form
    return postgresql if connection.dialect.name == "postgresql" else sqlite


def _one(connection: Connection, statement: Any) -> Generation | None:  # noqa: ANN401 - a select or an update
    row = connection.execute(statement).first()
    return None if row is None else _generation(row)


def _all(connection: Connection, query: Select[Any]) -> list[Generation]:
    return [_generation(row) for row in connection.execute(query)]


def _generation(row: Row[Any]) -> Generation:
    values = {name: getattr(row, name) for name in Generation.__struct_fields__}
    return Generation(**{**values, "state": State(row.state)})
