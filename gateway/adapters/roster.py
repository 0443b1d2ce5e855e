"""Teams and their keys: made, changed, rotated and revoked, each in a transaction with audit row and new revision.

The admin API and the commands both stand on this. A secret is told once, when it is made; what is kept is its digest.
"""

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, RowMapping, select, update

from gateway.adapters.database import Database
from gateway.adapters.rows import (
    FILE,
    ROTATION,
    Change,
    bump,
    columns_of,
    one,
    terms_of,
    told_key,
    told_team,
    with_standings,
    write_down,
)
from gateway.adapters.tables import KEYS, TEAMS
from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import KEY_LABEL, Terms, mint, name_key
from gateway.core.pages import Json, Page, Wanted, page_of
from gateway.core.secrets import derive, digest_of
from gateway.core.terms import check_within, read_name, read_overlap, read_terms, refuse_unknown
from gateway.ports import Clock

_LAST_DIGITS: Final = 4


class Roster:
    """The service. Every method may raise `DatabaseUnavailableError`; writes take who did it, for the audit."""

    def __init__(self, database: Database, secret: str, clock: Clock, static: Collection[str] = ()) -> None:
        """`secret` is the gateway's own; `static` are the names of static keys, each a team of its own."""
        self._database: Final = database
        self._derived: Final = derive(secret, KEY_LABEL)
        self._clock: Final = clock
        self._static: Final = frozenset(static)

    async def teams(self, wanted: Wanted) -> Page:
        """Teams by name."""

        def work(connection: Connection) -> Page:
            query = select(TEAMS).where(TEAMS.c.name > (wanted.after or "")).order_by(TEAMS.c.name)
            rows = connection.execute(query.limit(wanted.limit + 1)).mappings().all()
            return page_of(self._told_all(connection, rows), wanted, "name")

        return await self._database.read(work)

    async def team(self, name: str) -> Json:
        """One team, with its budgets' standing. Raises GatewayError: `not_found`."""
        return await self._database.read(lambda connection: self._told(connection, _team(connection, name)))

    async def create_team(self, actor: str, data: Mapping[str, object]) -> Json:
        """Make a team of `name` and terms. Raises GatewayError: what is wrong with them, `conflict`."""
        now = self._clock.now()
        name, terms = read_name(data.get("name")), read_terms(_without(data, "name"), Terms(), now)
        if name in self._static:
            raise _conflict(f"{name!r} is the name of a static key, which is a team of its own; choose another.")

        def work(connection: Connection) -> Json:
            if one(connection, TEAMS, "name", name) is not None:
                raise _conflict(f"There is a team {name!r} already.")
            values = {"name": name, "source": "admin", "created": now, "revision": bump(connection)}
            connection.execute(TEAMS.insert().values(**values, **columns_of(terms)))
            made = _team(connection, name)
            write_down(connection, now, actor, "team.create", Change(f"team:{name}", None, told_team(made)))
            return self._told(connection, made)

        return await self._database.write(work)

    async def change_team(self, actor: str, name: str, data: Mapping[str, object]) -> Json:
        """Change the terms that are given. Raises GatewayError: what is wrong with them, `not_found`, `conflict`."""
        now = self._clock.now()

        def work(connection: Connection) -> Json:
            before = _team(connection, name)
            terms = read_terms(data, terms_of(before), now)
            _refuse_of_file(before)
            values = columns_of(terms) | {"revision": bump(connection)}
            connection.execute(update(TEAMS).where(TEAMS.c.name == name).values(**values))
            after = _team(connection, name)
            change = Change(f"team:{name}", told_team(before), told_team(after))
            write_down(connection, now, actor, "team.change", change)
            return self._told(connection, after)

        return await self._database.write(work)

    async def keys(self, wanted: Wanted, team: str | None = None) -> Page:
        """Keys by id, all or a team's. Raises GatewayError: `not_found`, of the team."""

        def work(connection: Connection) -> Page:
            query = select(KEYS).where(KEYS.c.id > (wanted.after or "")).order_by(KEYS.c.id)
            if team is not None:
                _team(connection, team)
                query = query.where(KEYS.c.team == team)
            rows = connection.execute(query.limit(wanted.limit + 1)).mappings().all()
            return page_of(self._told_all(connection, rows), wanted, "id")

        return await self._database.read(work)

    async def key(self, id_: str) -> Json:
        """One key, with its budgets' standing. Raises GatewayError: `not_found`."""
        return await self._database.read(lambda connection: self._told(connection, _key(connection, id_)))

    async def create_key(self, actor: str, team: str, data: Mapping[str, object]) -> Json:
        """Make a key of `name` and terms for a team; `secret` of the answer is told this once.

        Raises:
            GatewayError: what is wrong with name and terms, `not_found`, `conflict`.
        """
        now, secret, id_ = self._clock.now(), mint(secrets.randbits(192)), name_key(secrets.randbits(136))
        name, terms = read_name(data.get("name")), read_terms(_without(data, "name"), Terms(), now)

        def work(connection: Connection) -> Json:
            of_team = _team(connection, team)
            check_within(terms, terms_of(of_team))
            _refuse_taken(connection, team, name)
            values = {"id": id_, "team": team, "name": name, "source": "admin", "created": now, **self._kept(secret)}
            connection.execute(KEYS.insert().values(**values, revision=bump(connection), **columns_of(terms)))
            made = _key(connection, id_)
            write_down(connection, now, actor, "key.create", Change(f"key:{id_}", None, told_key(made, now)))
            return {**self._told(connection, made), "secret": secret}

        return await self._database.write(work)

    async def change_key(self, actor: str, id_: str, data: Mapping[str, object]) -> Json:
        """Change the name and terms that are given. Raises GatewayError: as `create_key`."""

        def change(connection: Connection, before: RowMapping) -> Json:
            name = read_name(data["name"]) if "name" in data else before["name"]
            terms = read_terms(_without(data, "name"), terms_of(before), self._clock.now())
            check_within(terms, terms_of(_team(connection, before["team"])))
            if name != before["name"]:
                _refuse_taken(connection, before["team"], name)
            return {"name": name, **columns_of(terms)}

        return await self._change_key(actor, "key.change", id_, change)

    async def rotate_key(self, actor: str, id_: str, data: Mapping[str, object]) -> Json:
        """Give a key a new secret, told this once; the old one is good for `overlap` seconds more, a day unless said.

        Raises:
            GatewayError: `invalid_value`, `not_found`, `conflict`.
        """
        refuse_unknown(data, "overlap")
        until, secret = self._clock.now() + read_overlap(data.get("overlap")), mint(secrets.randbits(192))

        def change(_connection: Connection, before: RowMapping) -> Json:
            return {**self._kept(secret), "old_digest": before["digest"], "old_until": until}

        return {**await self._change_key(actor, ROTATION, id_, change), "secret": secret}

    async def revoke_key(self, actor: str, id_: str) -> Json:
        """End a key for good. Raises GatewayError: `not_found`, `conflict`."""
        now = self._clock.now()
        gone = {"revoked": now, "old_digest": None, "old_until": None}
        return await self._change_key(actor, "key.revoke", id_, lambda _connection, _before: gone)

    async def _change_key(
        self, actor: str, action: str, key: str, change: Callable[[Connection, RowMapping], Json]
    ) -> Json:
        now = self._clock.now()

        def work(connection: Connection) -> Json:
            before = _key(connection, key)
            id_ = before["id"]
            _refuse_of_file(before)
            if before["revoked"] is not None:
                raise _conflict(f"The key {id_} is revoked, for good; make another.")
            values = {**change(connection, before), "revision": bump(connection)}
            connection.execute(update(KEYS).where(KEYS.c.id == id_).values(**values))
            after = _key(connection, id_)
            told = Change(f"key:{id_}", told_key(before, now), told_key(after, now))
            write_down(connection, now, actor, action, told)
            return self._told(connection, after)

        return await self._database.write(work)

    def _kept(self, secret: str) -> Json:
        return {"digest": digest_of(self._derived, secret.encode()), "last_four": secret[-_LAST_DIGITS:]}

    def _told(self, connection: Connection, row: RowMapping) -> Json:
        return self._told_all(connection, [row])[0]

    def _told_all(self, connection: Connection, rows: Sequence[RowMapping]) -> list[Json]:
        now = self._clock.now()
        told = [told_key(row, now) if "digest" in row else told_team(row) for row in rows]
        return with_standings(connection, told, now)


def _team(connection: Connection, name: str) -> RowMapping:
    if (row := one(connection, TEAMS, "name", name)) is None:
        raise GatewayError(Kind.NOT_FOUND, f"There is no team {name[:63]!r}.")
    return row


def _key(connection: Connection, id_: str) -> RowMapping:
    """A key by its id, or as `team/name`."""
    team, slash, name = id_.partition("/")
    if slash and id_.isprintable():
        named = select(KEYS).where(KEYS.c.team == team, KEYS.c.name == name)
        row = connection.execute(named).mappings().one_or_none()
    else:
        row = one(connection, KEYS, "id", id_)
    if row is None:
        raise GatewayError(Kind.NOT_FOUND, f"There is no key {id_[:130]!r}; say its id, key_…, or team/name.")
    return row


def _refuse_taken(connection: Connection, team: str, name: str) -> None:
    taken = select(KEYS.c.id, KEYS.c.revoked).where(KEYS.c.team == team, KEYS.c.name == name)
    if (row := connection.execute(taken).one_or_none()) is not None:
        what = "a key" if row.revoked is None else "a revoked key"
        raise _conflict(f"The team {team!r} has {what} {name!r} already, {row.id}; choose another name.")


def _refuse_of_file(row: RowMapping) -> None:
    if row["source"] == FILE:
        raise _conflict(f"{row['name']!r} is declared in the teams file; change it there.")


def _without(data: Mapping[str, object], name: str) -> dict[str, object]:
    return {field: value for field, value in data.items() if field != name}


def _conflict(message: str) -> GatewayError:
    return GatewayError(Kind.CONFLICT, message)
