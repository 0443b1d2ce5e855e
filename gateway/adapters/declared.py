"""What the teams file declares, brought into the database: made, changed, and what has vanished from it ended."""

import secrets
from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Table, select, update

from gateway.adapters.database import Database
from gateway.adapters.rows import FILE, ROTATION, Change, bump, columns_of, one, told_key, told_team, write_down
from gateway.adapters.tables import KEYS, TEAMS
from gateway.core.declared import DeclaredError, DeclaredKey, DeclaredTeam
from gateway.core.keys import name_key
from gateway.ports import Clock

ACTOR: Final = "file"


class Declarations:
    """Applies the file; doing so again changes nothing."""

    def __init__(self, database: Database, clock: Clock, static: Collection[str] = ()) -> None:
        """`static` are the names of static keys, each a team of its own."""
        self._database: Final = database
        self._clock: Final = clock
        self._static: Final = frozenset(static)

    async def apply(self, teams: Mapping[str, DeclaredTeam]) -> None:
        """Make the database hold what is declared, all of it or nothing.

        Raises:
            DeclaredError: it is at odds with what was made by command or by the admin API.
            DatabaseUnavailableError: try again later.
        """
        if taken := sorted(self._static & teams.keys()):
            where = teams[taken[0]].place
            raise DeclaredError(f"{where}: the team {taken[0]!r} has the name of a static key; choose another")
        now = self._clock.now()
        ids = {(team, key): name_key(secrets.randbits(136)) for team in teams for key in teams[team].keys}

        def work(connection: Connection) -> None:
            for name, team in teams.items():
                _apply_team(connection, now, name, team)
            _end_vanished(connection, now, teams)
            for name, team in teams.items():
                for key, declared in team.keys.items():
                    _apply_key(connection, now, (ids[name, key], name, key), declared)

        await self._database.write(work)


def _apply_team(connection: Connection, now: float, name: str, team: DeclaredTeam) -> None:
    before = one(connection, TEAMS, "name", name)
    if before is None:
        values = {"name": name, "source": FILE, "created": now, "revision": bump(connection)}
        connection.execute(TEAMS.insert().values(**values, **columns_of(team.terms)))
    else:
        _check_ours(before, f"{team.place}: the team {name!r}")
        _change(connection, TEAMS, before, columns_of(team.terms))
    after = one(connection, TEAMS, "name", name)
    told = Change(f"team:{name}", _told(before, now), _told(after, now))
    write_down(connection, now, ACTOR, "team.create" if before is None else "team.change", told)


def _apply_key(connection: Connection, now: float, names: tuple[str, str, str], declared: DeclaredKey) -> None:
    id_, team, name = names
    before = _key(connection, team, name)
    holder = _of_digest(connection, declared.digest)
    if holder is not None and (before is None or holder["id"] != before["id"]):
        other = f"{holder['team']}/{holder['name']}"
        raise DeclaredError(f"{declared.place}: the digest of the key {team}/{name} is that of {other}")
    columns = columns_of(declared.terms) | {"digest": declared.digest, "last_four": declared.last_four, "revoked": None}
    if before is None:
        values = {"id": id_, "team": team, "name": name, "source": FILE, "created": now, "revision": bump(connection)}
        connection.execute(KEYS.insert().values(**values, **columns))
    else:
        _check_ours(before, f"{declared.place}: the key {team}/{name}")
        _change(connection, KEYS, before, columns)
    after = _key(connection, team, name)
    told = Change(f"key:{id_ if before is None else before['id']}", _told(before, now), _told(after, now))
    action = "key.create" if before is None else "key.change" if before["digest"] == declared.digest else ROTATION
    write_down(connection, now, ACTOR, action, told)


def _end_vanished(connection: Connection, now: float, teams: Mapping[str, DeclaredTeam]) -> None:
    of_file = select(KEYS).where(KEYS.c.source == FILE, KEYS.c.revoked.is_(None))
    for row in connection.execute(of_file).mappings().all():
        if row["team"] not in teams or row["name"] not in teams[row["team"]].keys:
            _change(connection, KEYS, row, {"revoked": now})
            told = Change(f"key:{row['id']}", _told(row, now), _told(one(connection, KEYS, "id", row["id"]), now))
            write_down(connection, now, ACTOR, "key.revoke", told)
    enabled = select(TEAMS).where(TEAMS.c.source == FILE, TEAMS.c.disabled.is_(False))
    for row in connection.execute(enabled).mappings().all():
        if row["name"] not in teams:
            _change(connection, TEAMS, row, {"disabled": True})
            after = one(connection, TEAMS, "name", row["name"])
            told = Change(f"team:{row['name']}", _told(row, now), _told(after, now))
            write_down(connection, now, ACTOR, "team.change", told)


def _change(connection: Connection, table: Table, before: RowMapping, columns: Mapping[str, Any]) -> None:
    if any(before[name] != value for name, value in columns.items()):
        (key,) = table.primary_key.columns
        which = key == before[key.name]
        connection.execute(update(table).where(which).values(**columns, revision=bump(connection)))


def _key(connection: Connection, team: str, name: str) -> RowMapping | None:
    named = select(KEYS).where(KEYS.c.team == team, KEYS.c.name == name)
    return connection.execute(named).mappings().one_or_none()


def _of_digest(connection: Connection, digest: bytes) -> RowMapping | None:
    return connection.execute(select(KEYS).where(KEYS.c.digest == digest)).mappings().one_or_none()


def _check_ours(row: RowMapping, what: str) -> None:
    if row["source"] != FILE:
        raise DeclaredError(f"{what} was made by command or by the admin API; take it out of the file")


def _told(row: RowMapping | None, now: float) -> dict[str, Any] | None:
    if row is None:
        return None
    return told_key(row, now) if "digest" in row else told_team(row)
