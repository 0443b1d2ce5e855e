"""`migrate`, and what all commands do with the database before they use it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from gateway.adapters.clock import SystemClock
from gateway.adapters.database import Database
from gateway.adapters.declared import Declarations
from gateway.adapters.migrations import HEAD, WrongDatabaseError, upgrade
from gateway.adapters.secret import SecretError, read_or_make
from gateway.adapters.teams import any_key
from gateway.cli.terminal import settings_or_exit, stop
from gateway.core.declared import DeclaredError
from gateway.core.errors import GatewayError
from gateway.core.keys import parse_static
from gateway.core.pages import Json, Page, Wanted
from gateway.ports import DatabaseUnavailableError
from gateway.settings import Settings, SettingsError, read_teams

T = TypeVar("T")

ACTOR: Final = "cli"
"""Who did it, in the audit."""


@click.command()
def migrate() -> None:
    """Bring the database to this version's schema; `serve` does the same."""
    if migrate_or_exit(settings_or_exit()):
        click.echo(f"The database is at {HEAD} now.")
    else:
        click.echo(f"The database is at {HEAD} already.")


def migrate_or_exit(settings: Settings) -> bool:
    """Migrate; whether there was anything to do."""
    try:
        return upgrade(settings.durable_url)
    except WrongDatabaseError as error:
        stop(f"GATEWAY_DATABASE_URL: {error}")
    except DatabaseUnavailableError as error:
        stop(f"the database cannot be reached: {error}")


def prepare_or_exit(settings: Settings) -> bool:
    """Migrate and apply the teams file; whether there is a good key, True where the database cannot be asked."""
    try:
        declared = read_teams(settings)
        upgrade(settings.durable_url)
    except WrongDatabaseError as error:
        stop(f"GATEWAY_DATABASE_URL: {error}")
    except DatabaseUnavailableError as error:
        return _without(error)
    except (SettingsError, DeclaredError) as error:
        stop(str(error))

    async def prepare(database: Database, settings: Settings) -> bool:
        try:
            if declared is not None:
                await Declarations(database, SystemClock(), parse_static(settings.keys)).apply(declared)
            return await database.read(any_key)
        except DatabaseUnavailableError as error:  # gone since
            return _without(error)

    return _on_database(prepare, settings)


def on_database(work: Callable[[Database, Settings], Coroutine[Any, Any, T]]) -> T:
    """Migrate, and do some work on the database; what is wrong ends the command with a sentence."""
    settings = settings_or_exit()
    migrate_or_exit(settings)
    return _on_database(work, settings)


def _on_database(work: Callable[[Database, Settings], Coroutine[Any, Any, T]], settings: Settings) -> T:
    async def run() -> T:
        database = Database(settings.durable_url, lambda: None)
        try:
            return await work(database, settings)
        finally:
            await database.aclose()

    try:
        return asyncio.run(run())
    except (GatewayError, DeclaredError) as error:
        stop(str(error))
    except DatabaseUnavailableError as error:
        stop(f"the database cannot be reached: {error}")


def _without(error: DatabaseUnavailableError) -> bool:
    why = str(error) or "it does not answer"
    click.echo(f"gateway302: the database cannot be reached, going on without: {why}", err=True)
    return True


async def every(read: Callable[[Wanted], Awaitable[Page]]) -> list[Json]:
    """All entries of a list that comes in pages."""
    found: list[Json] = []
    wanted = Wanted()
    while True:
        page = await read(wanted)
        found += page.data
        if page.next is None:
            return found
        wanted = Wanted(after=page.next)


def secret_or_exit(settings: Settings) -> str:
    """The gateway's secret, made where there is none."""
    try:
        return settings.secret or read_or_make(Path(settings.data_dir))
    except SecretError as error:
        stop(str(error))
