"""What the commands share with a person: settings or a clear sentence, and warnings on standard error."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

import click
import orjson

from gateway.core.catalogue import Catalogue, CatalogueError
from gateway.options import catalogue
from gateway.settings import Settings, SettingsError, load


def settings_or_exit() -> Settings:
    """The settings of the environment."""
    try:
        return load(os.environ, lambda message: click.echo(f"gateway302: {message}", err=True))
    except SettingsError as exc:
        stop(str(exc))


def catalogue_or_exit(settings: Settings) -> Catalogue:
    """The catalogue of the settings."""
    try:
        return catalogue(settings)
    except (CatalogueError, SettingsError) as exc:
        stop(str(exc))


def table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows, the first of which is the head, in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def listing(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Print these fields of rows in columns, under their names."""
    head = tuple(column.upper().replace("_", " ") for column in columns)
    table([head, *(tuple(_cell(row[column]) for column in columns) for row in rows)])


def show(value: Mapping[str, object]) -> None:
    """Print something as JSON."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2))


def stop(message: str) -> NoReturn:
    """End the command with a sentence."""
    click.echo(f"gateway302: {message}", err=True)
    sys.exit(2)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value in (None, "") else f"{value:g}" if isinstance(value, float) else str(value)
