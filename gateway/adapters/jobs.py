"""Jobs in the durable store."""

from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, case, delete, or_, select, update

from gateway.adapters.database import Database
from gateway.adapters.tables import JOBS, WORKERS, now
from gateway.adapters.upserts import insert_into
from gateway.core.jobs import KEPT_FOR, Ended, Job, JobState, Wanted

_J: Final = JOBS.c
# Polled for often, so without the request: it may hold a picture.
_COLUMNS: Final = (
    *(_J[name] for name in ("id", "key", "state", "version", "owner", "webhook", "tries", "told")),
    *(_J[name] for name in ("created", "finished", "answer")),
)
_MOST_ORPHANS: Final = 100
_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder(Ended).decode
_PACK: Final = msgspec.msgpack.Encoder().encode
_UNPACK: Final = msgspec.msgpack.Decoder(Wanted).decode


class SqlJobs:
    """The jobs as one worker takes them; `owner` is the worker's name, whose lease is that of the ledger."""

    def __init__(self, database: Database, owner: str) -> None:
        self._database: Final = database
        self._owner: Final = owner

    async def add(self, id_: str, key: str, wanted: Wanted, webhook: str | None) -> tuple[Job, bool]:
        """Take a job of a key; the one of this id, and whether it is new.

        Raises:
            DatabaseUnavailableError: it may be there all the same, so `remove` it.
        """
        values: dict[str, Any] = {"id": id_, "key": key, "request": _PACK(wanted), "webhook": webhook, "created": now()}
        values |= {"state": JobState.QUEUED.value, "version": 1, "owner": self._owner, "tries": 0}
        return await self._database.write(lambda connection: _add(connection, values))

    async def remove(self, id_: str) -> None:
        """Forget a job that nobody was promised."""
        mine = delete(JOBS).where(_J.id == id_, _J.owner == self._owner)
        await self._database.write(lambda connection: connection.execute(mine))

    async def find(self, id_: str) -> Job | None:
        """A job, without what is needed to do it; None where there is none any more."""
        query = select(*_COLUMNS).where(_J.id == id_, _J.created > now() - KEPT_FOR)
        row = await self._database.read(lambda connection: connection.execute(query).first())
        return None if row is None else _job(row)

    async def begin(self, job: Job) -> None:
        """Note that it is being worked on."""
        statement = update(JOBS).where(_ours(job)).values(state=JobState.RUNNING.value)
        await self._database.write(lambda connection: connection.execute(statement))

    async def end(self, job: Job, ended: Ended) -> Job | None:
        """Note how it ended; None where it was taken from us. The request is no longer needed."""
        statement = (
            update(JOBS)
            .where(_ours(job))
            .values(
                state=JobState.DONE.value,
                version=job.version + 1,
                request=b"",
                answer=_ENCODE(ended).decode(),
                finished=now(),
                told=case((_J.webhook.is_(None), now()), else_=None),
            )
            .returning(*_COLUMNS)
        )
        row = await self._database.write(lambda connection: connection.execute(statement).first())
        return None if row is None else _job(row)

    async def orphans(self) -> list[Job]:
        """Jobs of dead workers: not done, or with a webhook that is still to be told."""
        query = (
            select(*_COLUMNS)
            .join(WORKERS, WORKERS.c.id == _J.owner, isouter=True)
            .where(_J.told.is_(None), _J.owner != self._owner, _J.created > now() - KEPT_FOR)
            .where(or_(WORKERS.c.id.is_(None), WORKERS.c.lease_until < now()))
            .limit(_MOST_ORPHANS)
        )
        return await self._database.read(lambda connection: [_job(row) for row in connection.execute(query)])

    async def adopt(self, job: Job) -> Job | None:
        """Make an orphan ours; None where somebody else was first."""
        statement = (
            update(JOBS)
            .where(_J.id == job.id, _J.version == job.version)
            .values(
                version=job.version + 1,
                owner=self._owner,
                state=case((_J.finished.is_(None), JobState.QUEUED.value), else_=_J.state),
            )
            .returning(*_COLUMNS, _J.request)
        )
        row = await self._database.write(lambda connection: connection.execute(statement).first())
        if row is None:
            return None
        found = _job(row)
        return found if found.finished else msgspec.structs.replace(found, wanted=_UNPACK(row.request))

    async def tried(self, job: Job, tries: int, *, over: bool) -> bool:
        """Note that the webhook was called, and whether it is not to be again; False where it was taken from us."""
        values: dict[str, Any] = {"tries": tries} | ({"told": now()} if over else {})
        statement = update(JOBS).where(_J.id == job.id, _J.version == job.version).values(values)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount) > 0

    async def forget(self) -> None:
        """Remove what is no longer kept."""
        lapsed = delete(JOBS).where(_J.created < now() - KEPT_FOR)
        await self._database.write(lambda connection: connection.execute(lapsed))


def _ours(job: Job) -> ColumnElement[bool]:
    return (_J.id == job.id) & (_J.version == job.version) & _J.finished.is_(None)


def _add(connection: Connection, values: dict[str, Any]) -> tuple[Job, bool]:
    mine = _J.id == values["id"]
    connection.execute(delete(JOBS).where(mine, _J.created < now() - KEPT_FOR))
    statement = insert_into(JOBS, connection.dialect.name).values(values).on_conflict_do_nothing().returning(*_COLUMNS)
    row = connection.execute(statement).first()
    if row is not None:
        return _job(row), True
    return _job(connection.execute(select(*_COLUMNS).where(mine)).one()), False


def _job(row: Row[Any]) -> Job:
    values = {column.name: getattr(row, column.name) for column in _COLUMNS if column is not _J.answer}
    ended = None if row.answer is None else _DECODE(row.answer)
    return Job(**{**values, "state": JobState(row.state), "ended": ended})
