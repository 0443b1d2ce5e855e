"""The keys of the database, in memory: who asks is told without I/O.

A snapshot of all keys and teams. Every change has a revision, and each worker reads, once a second, what is newer than
what it has seen; a well-formed key that nobody knows makes it look at once. While the database is away the snapshot
stays as it is.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, RowMapping, select

from gateway.adapters.database import Database
from gateway.adapters.rows import terms_of
from gateway.adapters.tables import KEYS, REVISION, TEAMS
from gateway.core.keys import KEY_LABEL, Caller, Terms, looks_minted
from gateway.core.secrets import derive, digest_of
from gateway.ports import Clock, DatabaseUnavailableError

EVERY: Final = 1.0
"""Seconds between two looks for what has changed."""
_REVOKED: Final = Terms(disabled=True)
# A digest costs five times a look into a dict, so secrets that proved good are remembered; only those, or guesses would
# push them out.
_MOST_SHOWN: Final = 4096


@dataclass(frozen=True, slots=True)
class _Known:
    """Who a digest stands for, and until when (seconds since 1970), if it is a rotated key's old one."""

    caller: Caller
    until: float | None = None


@dataclass(frozen=True, slots=True)
class _News:
    newest: int
    teams: list[RowMapping]
    keys: list[RowMapping]


class TeamDirectory:
    """Finds callers by secret."""

    def __init__(self, database: Database, secret: str, clock: Clock) -> None:
        """`secret` is the gateway's own."""
        self._database: Final = database
        self._derived: Final = derive(secret, KEY_LABEL)
        self._clock: Final = clock
        self._seen = -1
        self._teams: dict[str, Terms] = {}
        self._keys: dict[str, RowMapping] = {}
        self._of_team: dict[str, set[str]] = {}
        self._known: dict[bytes, _Known] = {}
        self._shown: dict[bytes, _Known] = {}
        # How many readings have begun and ended, and whether the last one found the database away.
        self._reading: Final = asyncio.Lock()
        self._begun = self._ended = 0
        self._failed = False

    def find(self, secret: bytes) -> Caller | None:
        """Who holds a secret, without I/O. A revoked key's terms are disabled."""
        known = self._shown.get(secret) or self._look_up(secret)
        if known is None or (known.until is not None and known.until <= self._clock.now()):
            return None
        return known.caller

    def named(self, id_: str) -> Caller | None:
        """Who holds the key of an id, without I/O. A revoked key's terms are disabled."""
        row = self._keys.get(id_)
        return None if row is None else self._caller(row)

    async def refresh(self) -> None:
        """Learn what has changed. Whoever comes while somebody reads waits for the next reading, all of them together.

        Raises:
            DatabaseUnavailableError: the snapshot is as it was.
        """
        arrived = self._begun
        async with self._reading:
            if self._ended <= arrived:
                self._begun += 1
                await self._refresh()
                self._ended = self._begun
            if self._failed:
                raise DatabaseUnavailableError

    async def keep_fresh(self, every: float = EVERY) -> None:
        """Refresh for ever, every so many seconds; a database that is away is asked again."""
        while True:
            with contextlib.suppress(DatabaseUnavailableError):  # the database has counted it
                await self.refresh()
            await asyncio.sleep(every)

    def _look_up(self, secret: bytes) -> _Known | None:
        known = self._known.get(digest_of(self._derived, secret)) if looks_minted(secret) else None
        if known is not None:
            if len(self._shown) >= _MOST_SHOWN:
                self._shown.clear()
            self._shown[secret] = known
        return known

    async def _refresh(self) -> None:
        try:
            news = await self._database.read(self._read)
        except DatabaseUnavailableError:
            self._failed = True
            return
        self._failed = False
        if news is not None:
            self._learn(news)

    def _read(self, connection: Connection) -> _News | None:
        newest: int = connection.scalar(select(REVISION.c.newest)) or 0
        if newest == self._seen:
            return None
        # A database that was put back to an older state is read anew.
        seen = self._seen if newest > self._seen else -1
        # Keys first: the team of each is there before it is.
        keys, teams = (
            list(connection.execute(select(table).where(table.c.revision > seen)).mappings()) for table in (KEYS, TEAMS)
        )
        return _News(newest, teams, keys)

    def _learn(self, news: _News) -> None:
        if news.newest < self._seen:
            for known in (self._teams, self._keys, self._of_team, self._known):
                known.clear()
        for row in news.teams:
            self._teams[row["name"]] = terms_of(row)
        changed = {id_ for row in news.teams for id_ in self._of_team.get(row["name"], ())}
        changed |= {row["id"] for row in news.keys}
        self._forget(changed)
        for row in news.keys:
            self._keys[row["id"]] = row
            self._of_team.setdefault(row["team"], set()).add(row["id"])
        for id_ in changed:
            self._introduce(self._keys[id_])
        self._shown.clear()
        self._seen = news.newest

    def _forget(self, ids: set[str]) -> None:
        for id_ in ids & self._keys.keys():
            row = self._keys[id_]
            for digest in (row["digest"], row["old_digest"]):
                self._known.pop(digest, None)

    def _introduce(self, row: RowMapping) -> None:
        caller = self._caller(row)
        self._known[row["digest"]] = _Known(caller)
        if row["old_digest"] is not None:
            self._known[row["old_digest"]] = _Known(caller, row["old_until"])

    def _caller(self, row: RowMapping) -> Caller:
        terms = _REVOKED if row["revoked"] is not None else terms_of(row)
        return Caller(row["id"], row["team"], terms, self._teams[row["team"]])


def any_key(connection: Connection) -> bool:
    """Whether there is a key that is not revoked."""
    some = connection.scalar(select(KEYS.c.id).where(KEYS.c.revoked.is_(None)).limit(1))
    return some is not None
