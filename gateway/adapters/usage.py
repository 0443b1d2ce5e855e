"""What is used, by day × team × key × model: counted in memory, and added to the database in one statement a second.

Requests, hits, joins, failures and what they saved are counted here, out of each request's outcome, so that a cache hit
costs no SQL. Pictures that were paid for and their cost are added by whoever settles them, in the same transaction.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from sqlalchemy import Connection, func, select

from gateway.adapters.database import Database
from gateway.adapters.rows import add_usage
from gateway.adapters.tables import USAGE
from gateway.core.days import day_of
from gateway.core.outcome import HIT, JOINED, Outcome
from gateway.core.usage import COUNTERS, GROUPS, Asked, Json, told_usage
from gateway.ports import Clock, DatabaseUnavailableError

EVERY: Final = 1.0
"""Seconds between two flushes."""
_HIT: Final = HIT.word
_JOINED: Final = JOINED.word
_OK: Final = "ok"
_ENDPOINTS: Final = frozenset({"generations", "edits", "variations"})
# What is counted while the database is away is kept, for so many rows; beyond that, no new ones are begun.
_MOST_ROWS: Final = 20_000
_TOGETHER: Final = 500

Row = tuple[str, str, str, str]
_NAMES: Final = ("requests", "cached", "joined", "failed", "saved")


class UsageCounter:
    """Adds up outcomes; `flush` hands them to the database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database: Final = database
        self._clock: Final = clock
        self._counted: dict[Row, list[int]] = {}

    def request(self, outcome: Outcome) -> None:
        """Count a request for pictures that came as far as a team."""
        if outcome.endpoint not in _ENDPOINTS or not outcome.team:
            return
        row = (day_of(self._clock.now()), outcome.team, outcome.key, outcome.model)
        counted = self._counted.get(row)
        if counted is None:
            if len(self._counted) >= _MOST_ROWS:
                return
            counted = self._counted[row] = [0] * len(_NAMES)
        cached, joined = outcome.states.count(_HIT), outcome.states.count(_JOINED)
        counted[0] += 1
        counted[1] += cached
        counted[2] += joined
        counted[3] += outcome.code != _OK
        counted[4] += (cached + joined) * outcome.micro_usd

    async def flush(self) -> None:
        """Add what was counted to the database; what could not be added is kept for the next time.

        Raises:
            DatabaseUnavailableError: and it may have been added all the same; then it will be twice.
        """
        counted, self._counted = self._counted, {}
        rows = [
            {**dict(zip(GROUPS, row, strict=True)), **dict(zip(_NAMES, values, strict=True))}
            for row, values in counted.items()
        ]
        for start in range(0, len(rows), _TOGETHER):
            some = rows[start : start + _TOGETHER]
            try:
                await self._database.transact(partial(add_usage, rows=some))
            except asyncio.CancelledError:
                # This batch was handed over and goes on; those after it were not.
                self._take_back(dict([*counted.items()][start + _TOGETHER :]))
                raise
            except DatabaseUnavailableError:
                self._take_back(dict([*counted.items()][start:]))
                raise

    async def keep_flushing(self, every: float = EVERY) -> None:
        """Flush for ever, every so many seconds."""
        while True:
            await asyncio.sleep(every)
            with contextlib.suppress(DatabaseUnavailableError):  # the database has counted it
                await self.flush()

    def _take_back(self, counted: Mapping[Row, Sequence[int]]) -> None:
        for row, values in counted.items():
            now = self._counted.setdefault(row, [0] * len(_NAMES))
            for index, value in enumerate(values):
                now[index] += value


class UsageReport:
    """Reads what was used."""

    def __init__(self, database: Database) -> None:
        self._database: Final = database

    async def usage(self, asked: Asked) -> list[Json]:
        """The sums that are asked for, by the columns they are grouped by. Raises `DatabaseUnavailableError`."""
        groups = [USAGE.c[name] for name in asked.by]
        query = select(*groups, *(func.sum(USAGE.c[name]).label(name) for name in COUNTERS))
        for name in ("team", "key", "model"):
            if (value := getattr(asked, name)) is not None:
                query = query.where(USAGE.c[name] == value)
        if asked.since is not None:
            query = query.where(USAGE.c.day >= asked.since)
        if asked.until is not None:
            query = query.where(USAGE.c.day < asked.until)
        query = query.group_by(*groups).order_by(*groups) if groups else query

        def work(connection: Connection) -> list[Json]:
            return [told_usage(dict(row)) for row in connection.execute(query).mappings()]

        return await self._database.read(work)
