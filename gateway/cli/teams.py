"""`teams` and `keys`: administration on the database itself, by the same rules and words as `/admin/v1`."""

import secrets as randomness
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import click

from gateway.adapters.clock import SystemClock
from gateway.adapters.database import Database
from gateway.adapters.roster import Roster
from gateway.cli.database import ACTOR, every, on_database, secret_or_exit
from gateway.cli.terminal import listing, settings_or_exit, show, stop
from gateway.core.keys import KEY_LABEL, mint, parse_static, well_formed
from gateway.core.pages import Page, Wanted
from gateway.core.secrets import derive, digest_of
from gateway.core.terms import USUAL_OVERLAP
from gateway.settings import Settings

T = TypeVar("T")
Json = dict[str, Any]
Command = Callable[..., None]

_NONE: Final = "none"
_NUMBERS: Final = ("rpm", "ipm", "concurrency")
_HELP: Final = {
    "rpm": "Requests a minute.",
    "ipm": "Images a minute.",
    "concurrency": "Requests at once that wait for 302.AI.",
    "budget_day": "USD a day of UTC.",
    "budget_month": "USD a month of UTC.",
    "expires": "A time like 2027-01-31T00:00:00Z.",
    "coercion": "documented, nearest or strict.",
    "models": "Ids or globs, with commas: flux-*,dall-e-3-t2i.",
}


@click.group()
def teams() -> None:
    """Make and change teams. Every option takes `none` for no limit."""


@click.group()
def keys() -> None:
    """Make, change, rotate and revoke keys. KEY is an id, or TEAM/NAME."""


def _terms(command: Command) -> Command:
    for name, words in reversed(_HELP.items()):
        command = click.option(f"--{name.replace('_', '-')}", name, help=words)(command)
    return command


@teams.command("list")
def list_teams() -> None:
    """Show all teams."""
    found = _all(lambda roster, wanted: roster.teams(wanted))
    columns = ("name", "rpm", "ipm", "concurrency", "budget_day", "budget_month", "expires", "disabled", "source")
    listing(columns, found)


@teams.command("show")
@click.argument("name")
def show_team(name: str) -> None:
    """Show a team as JSON, with what it has spent."""
    show(_run(lambda roster: roster.team(name)))


@teams.command("create")
@click.argument("name")
@_terms
def create_team(name: str, **terms: str | None) -> None:
    """Make a team."""
    show(_run(lambda roster: roster.create_team(ACTOR, {"name": name, **_given(terms)})))


@teams.command("set")
@click.argument("name")
@_terms
def set_team(name: str, **terms: str | None) -> None:
    """Change what is given of a team's terms."""
    show(_run(lambda roster: roster.change_team(ACTOR, name, _given(terms))))


@teams.command("disable")
@click.argument("name")
def disable_team(name: str) -> None:
    """Refuse all keys of a team until it is enabled again."""
    show(_run(lambda roster: roster.change_team(ACTOR, name, {"disabled": True})))


@teams.command("enable")
@click.argument("name")
def enable_team(name: str) -> None:
    """Let a team's keys ask again."""
    show(_run(lambda roster: roster.change_team(ACTOR, name, {"disabled": False})))


@keys.command("list")
@click.option("--team", help="Only those of a team.")
def list_keys(team: str | None) -> None:
    """Show all keys; of their secrets the last four digits."""
    found = _all(lambda roster, wanted: roster.keys(wanted, team))
    listing(("id", "team", "name", "last_four", "expires", "disabled", "revoked", "source"), found)


@keys.command("show")
@click.argument("key")
def show_key(key: str) -> None:
    """Show a key as JSON, with what it has spent."""
    show(_run(lambda roster: roster.key(key)))


@keys.command("create")
@click.argument("team")
@click.argument("name")
@_terms
def create_key(team: str, name: str, **terms: str | None) -> None:
    """Make a key for a team, and print its secret, this once."""
    _tell(_run(lambda roster: roster.create_key(ACTOR, team, {"name": name, **_given(terms)})))


@keys.command("set")
@click.argument("key")
@click.option("--name", help="Another name.")
@_terms
def set_key(key: str, **terms: str | None) -> None:
    """Change what is given of a key's terms."""
    show(_run(lambda roster: roster.change_key(ACTOR, key, _given(terms))))


@keys.command("disable")
@click.argument("key")
def disable_key(key: str) -> None:
    """Refuse a key until it is enabled again."""
    show(_run(lambda roster: roster.change_key(ACTOR, key, {"disabled": True})))


@keys.command("enable")
@click.argument("key")
def enable_key(key: str) -> None:
    """Let a key ask again."""
    show(_run(lambda roster: roster.change_key(ACTOR, key, {"disabled": False})))


@keys.command("rotate")
@click.argument("key")
@click.option("--overlap", default=USUAL_OVERLAP, show_default=True, help="Seconds the old secret is still good.")
def rotate_key(key: str, overlap: int) -> None:
    """Give a key a new secret, and print it, this once."""
    _tell(_run(lambda roster: roster.rotate_key(ACTOR, key, {"overlap": overlap})))


@keys.command("revoke")
@click.argument("key")
def revoke_key(key: str) -> None:
    """End a key for good."""
    show(_run(lambda roster: roster.revoke_key(ACTOR, key)))


@keys.command("digest")
@click.argument("secret", required=False)
def digest(secret: str | None) -> None:
    """Print what the teams file says of a key: the digest of SECRET, or of a new one, which is printed first."""
    ours = secret_or_exit(settings_or_exit())
    if secret is None:
        secret = mint(randomness.randbits(192))
        click.echo(secret)
    elif not well_formed(secret.encode()):
        stop("SECRET must be a key that this command or `keys create` has made: gw_live_ and 36 digits")
    click.echo(f"{digest_of(derive(ours, KEY_LABEL), secret.encode()).hex()}:{secret[-4:]}")


def _given(terms: dict[str, str | None]) -> Json:
    """The options that were given, as the JSON that the admin API would be sent."""
    given: Json = {}
    for name, value in terms.items():
        if value is None:
            continue
        if value.lower() == _NONE:
            given[name] = None
        elif name == "models":
            given[name] = [part for part in (part.strip() for part in value.split(",")) if part]
        else:
            given[name] = int(value) if name in _NUMBERS and value.isascii() and value.isdigit() else value
    return given


def _run(work: Callable[[Roster], Awaitable[T]]) -> T:
    async def run(database: Database, settings: Settings) -> T:
        return await work(Roster(database, secret_or_exit(settings), SystemClock(), parse_static(settings.keys)))

    return on_database(run)


def _all(read: Callable[[Roster, Wanted], Awaitable[Page]]) -> list[Json]:
    return _run(lambda roster: every(lambda wanted: read(roster, wanted)))


def _tell(key: Json) -> None:
    """The secret alone on standard output, for scripts; what it is for beside it."""
    click.echo(f"{key['team']}/{key['name']} is {key['id']}. Its secret is shown this once:", err=True)
    click.echo(key["secret"])
