"""The teams file: teams, their limits and the digests of their keys, for those who keep them in a repository.

[teams.design]
rpm = 60

[teams.design.keys.web]
digest = "9f…:8r8Q"        # what `gateway302 keys digest` prints
models = ["flux-*"]
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.core.errors import GatewayError
from gateway.core.keys import Terms
from gateway.core.lines import place
from gateway.core.terms import check_within, read_name, read_terms

_DIGEST: Final = re.compile(r"([0-9a-f]{64})(?::([0-9A-Za-z]{4}))?")


class DeclaredError(Exception):
    """The teams file is wrong; the message names file, line and remedy."""


@dataclass(frozen=True, slots=True)
class DeclaredKey:
    """A key of the file: the digest of its secret, and the last digits of that, where they are told.

    `place` is `file:line`, for what is wrong with it beside the file.
    """

    digest: bytes
    last_four: str
    terms: Terms
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class DeclaredTeam:
    """A team of the file, and its keys by name; `place` as of a key."""

    terms: Terms
    keys: Mapping[str, DeclaredKey]
    place: str = field(default="", compare=False)


def read_declared(source: str, text: str) -> dict[str, DeclaredTeam]:
    """The teams of a file by name.

    Raises:
        DeclaredError: naming file and line.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DeclaredError(f"{source}: {error}") from error
    for table in data.keys() - {"teams"}:
        raise DeclaredError(f"{place(source, text, table)}: [{table}] is no table of this file; there is [teams.NAME]")
    reader = _Reader(source, text)
    teams = reader.table(data.get("teams", {}), "teams")
    found = {name: reader.team(name, reader.table(row, "teams", name)) for name, row in teams.items()}
    digests: dict[bytes, str] = {}
    for name, team in found.items():
        for key, declared in team.keys.items():
            if (other := digests.setdefault(declared.digest, f"{name}/{key}")) != f"{name}/{key}":
                raise reader.wrong(f"its digest is that of {other}", "teams", name, "keys", key, "digest")
    return found


@dataclass(frozen=True, slots=True)
class _Reader:
    source: str
    text: str

    def wrong(self, why: str, *path: str) -> DeclaredError:
        return DeclaredError(f"{place(self.source, self.text, *path)}: {'.'.join(path)}: {why}")

    def table(self, value: object, *path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.wrong("must be a table", *path)
        return value

    def team(self, name: str, row: dict[str, Any]) -> DeclaredTeam:
        path = ("teams", name)
        self._named(name, path)
        terms = self._terms({term: value for term, value in row.items() if term != "keys"}, path)
        keys = self.table(row.get("keys", {}), *path, "keys")
        found = {
            key: self._key(self.table(one, *path, "keys", key), terms, (*path, "keys", key))
            for key, one in keys.items()
        }
        return DeclaredTeam(terms, found, place(self.source, self.text, *path))

    def _key(self, row: dict[str, Any], team: Terms, path: tuple[str, ...]) -> DeclaredKey:
        self._named(path[-1], path)
        digest = row.get("digest")
        match = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
        if match is None:
            raise self.wrong("must be what `gateway302 keys digest` prints", *path, "digest")
        terms = self._terms({name: value for name, value in row.items() if name != "digest"}, path)
        try:
            check_within(terms, team)
        except GatewayError as error:
            raise self.wrong(error.message, *path, error.param or "") from error
        return DeclaredKey(bytes.fromhex(match[1]), match[2] or "", terms, place(self.source, self.text, *path))

    def _named(self, name: str, path: tuple[str, ...]) -> None:
        try:
            read_name(name)
        except GatewayError as error:
            raise self.wrong(error.message, *path) from error

    def _terms(self, row: dict[str, Any], path: tuple[str, ...]) -> Terms:
        plain = {name: _plain(value) for name, value in row.items()}
        try:
            # What has expired may stay in the file.
            return read_terms(plain, Terms(), now=0)
        except GatewayError as error:
            raise self.wrong(error.message, *path, error.param or "") from error


def _plain(value: object) -> object:
    """TOML has times of its own."""
    isoformat = getattr(value, "isoformat", None)
    return isoformat() if isoformat is not None else value
