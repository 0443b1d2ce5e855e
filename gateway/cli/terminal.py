"""What the commands share with a person: settings or a clear sentence, and warnings on standard error."""

import os
import sys
from typing import NoReturn

import click

from gateway.app import catalogue
from gateway.core.catalogue import Catalogue, CatalogueError
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


def stop(message: str) -> NoReturn:
    """End the command with a sentence."""
    click.echo(f"gateway302: {message}", err=True)
    sys.exit(2)
