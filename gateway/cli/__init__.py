"""The commands. Each is a thin reading of options; what it does lies in the rooms below."""

import click

from gateway import __version__
from gateway.cli.database import migrate
from gateway.cli.generations import generations
from gateway.cli.inspect import check, models, plan
from gateway.cli.serve import demo, serve
from gateway.cli.simulate import simulate
from gateway.cli.teams import keys, teams
from gateway.cli.usage import usage


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gateway302")
def main() -> None:
    """An OpenAI-compatible gateway to the image models of 302.AI."""


for command in (serve, demo, simulate, models, plan, check, migrate, teams, keys, usage, generations):
    main.add_command(command)
