"""`migrate`, and what all commands do with the database before they use it."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.adapters.database import Database, open_engine
from gateway.adapters.migrations import HEAD, WrongDatabaseError, upgrade
from gateway.adapters.secret import SecretError, read_or_make
from gateway.adapters.teams import any_key
from gateway.cli.terminal import settings_or_exit, stop
from gateway.core.errors import GatewayError
from gateway.ports import DatabaseUnavailableError
from gateway.settings import Settings

T = TypeVar("T")


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


def has_keys_or_exit(settings: Settings) -> bool:
    """Migrate, and tell whether the database has a key that is good; True where it is away and cannot be asked."""
    try:
        upgrade(settings.durable_url)
    except WrongDatabaseError as error:
        stop(f"GATEWAY_DATABASE_URL: {error}")
    except DatabaseUnavailableError as error:
        click.echo(f"gateway302: the database cannot be reached, going on without: {error}", err=True)
        return True
    engine = open_engine(settings.durable_url, writes=False)
    try:
        with engine.connect() as connection:
            return any_key(connection)
    finally:
        engine.dispose()


def on_database(work: Callable[[Database, Settings], Coroutine[Any, Any, T]]) -> T:
    """Migrate, and do some work on the database; what is wrong ends the command with a sentence."""
    settings = settings_or_exit()
    migrate_or_exit(settings)

    async def run() -> T:
        database = Database(settings.durable_url, lambda: None)
        try:
            return await work(database, settings)
        finally:
            await database.aclose()

    try:
        return asyncio.run(run())
    except GatewayError as error:
        stop(error.message)
    except DatabaseUnavailableError as error:
        stop(f"the database cannot be reached: {error}")


def secret_or_exit(settings: Settings) -> str:
    """The gateway's secret, made where there is none."""
    try:
        return settings.secret or read_or_make(Path(settings.data_dir))
    except SecretError as error:
        stop(str(error))
