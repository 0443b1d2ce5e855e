"""`usage`: what was used, by day, team, key and model."""

import click
import orjson

from gateway.adapters.usage import UsageReport
from gateway.cli.database import on_database
from gateway.cli.terminal import table
from gateway.core.usage import COUNTERS, GROUPS, Json, as_csv, read_asked

_HELP = f"Columns to group by, with commas: {','.join(GROUPS)}."


@click.command()
@click.option("--by", default="day,team", show_default=True, help=_HELP)
@click.option("--since", help="The first day of UTC, 2026-11-01.")
@click.option("--until", help="The day after the last.")
@click.option("--team", help="Only of a team.")
@click.option("--key", help="Only of a key, by its id.")
@click.option("--model", help="Only of a model.")
@click.option("--format", "form", default="table", show_default=True, type=click.Choice(["table", "csv", "json"]))
def usage(by: str, form: str, **only: str | None) -> None:
    """Show what was used and what it cost, in USD."""

    async def read(report: UsageReport) -> tuple[tuple[str, ...], list[Json]]:
        asked = read_asked({"by": by, **{name: value for name, value in only.items() if value}})
        return asked.by, await report.usage(asked)

    groups, rows = on_database(lambda database, _settings: read(UsageReport(database)))
    if form == "json":
        click.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
    elif form == "csv":
        click.echo(as_csv(rows, groups), nl=False)
    else:
        columns = (*groups, *COUNTERS)
        told = [
            tuple(f"{row[name]:.6f}" if name in {"cost", "saved"} else str(row[name]) for name in columns)
            for row in rows
        ]
        table([tuple(name.upper() for name in columns), *told])
