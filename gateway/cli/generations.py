"""`generations`: the outcomes that nobody knows, found and settled on the database itself."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from gateway.adapters.clock import SystemClock
from gateway.adapters.database import Database
from gateway.adapters.records import Records
from gateway.cli.database import ACTOR, every, on_database
from gateway.cli.terminal import listing, show
from gateway.core.ledger import State
from gateway.core.pages import Sought
from gateway.settings import Settings

T = TypeVar("T")


@click.group()
def generations() -> None:
    """Find and settle the generations whose outcome is unknown."""


@generations.command("unknown")
def list_unknown() -> None:
    """Show all whose outcome is unknown, newest first, and what each holds of the budgets, in USD."""
    sought = Sought(state=State.UNKNOWN)
    found = _run(lambda records: every(lambda wanted: records.generations(wanted, sought)))
    listing(("id", "created", "team", "key", "model", "held"), [{**one, "held": one["reserved"]} for one in found])


@generations.command("show")
@click.argument("id_", metavar="ID")
def show_one(id_: str) -> None:
    """Show a generation as JSON."""
    show(_run(lambda records: records.generation(id_)))


@generations.command("settle")
@click.argument("id_", metavar="ID")
@click.argument("cost")
def settle(id_: str, cost: str) -> None:
    """Say what an unknown outcome cost, in USD; 0 for what was not billed."""
    show(_run(lambda records: records.settle(ACTOR, id_, {"cost": cost})))


def _run(work: Callable[[Records], Awaitable[T]]) -> T:
    async def run(database: Database, _settings: Settings) -> T:
        return await work(Records(database, SystemClock()))

    return on_database(run)
