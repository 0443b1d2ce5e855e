"""`simulate`: the stand-in for 302.AI alone, for anyone's tests."""

import socket

import click
import uvicorn

from gateway.cli.terminal import catalogue_or_exit, settings_or_exit, stop
from gateway.simulator.options import Failure, Options


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8303, show_default=True, type=click.IntRange(0, 65535))
@click.option("--delay", default=0.0, show_default=True, help="Seconds a picture takes.")
@click.option("--jitter", default=0.0, show_default=True, help="Seconds more or less, at random.")
@click.option("--key", "keys", multiple=True, help="A key that is accepted; without any, all that begin with sk-.")
@click.option(
    "--fail",
    "failures",
    multiple=True,
    type=click.Choice([failure.value for failure in Failure]),
    help="A way to fail; may be repeated.",
)
@click.option(
    "--failure-rate", default=1.0, show_default=True, type=click.FloatRange(0, 1), help="Share that --fail hits."
)
@click.option("--balance", default=100.0, show_default=True, help="USD on the account.")
@click.option("--seed", type=int, help="Makes the random choices repeatable.")
def simulate(  # noqa: PLR0913 - one parameter an option, as click hands them over
    host: str,
    port: int,
    *,
    delay: float,
    jitter: float,
    keys: tuple[str, ...],
    failures: tuple[str, ...],
    failure_rate: float,
    balance: float,
    seed: int | None,
) -> None:
    """Run a strict stand-in for 302.AI that draws real pictures."""
    options = Options(
        delay=delay,
        jitter=jitter,
        failures=tuple(Failure(name) for name in failures),
        failure_rate=failure_rate if failures else 0.0,
        keys=frozenset(keys),
        balance=balance,
        seed=seed,
    )
    # Imported here, for it brings Pillow: 15 MB that no worker of the gateway needs.
    from gateway.simulator.app import build

    app = build(options, catalogue_or_exit(settings_or_exit()))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as exc:
        stop(f"cannot listen on {host}:{port}: {exc.strerror}")
    good = ", ".join(sorted(keys)) if keys else "any that begins with sk-"
    click.echo(f"http://{host}:{listening.getsockname()[1]}  (a stand-in for 302.AI; key: {good})")
    config = uvicorn.Config(
        app,
        http="httptools",
        loop="uvloop",
        ws="none",
        log_level="error",
        access_log=False,
        timeout_graceful_shutdown=1,  # a call that was told to hang must not hold up the end
    )
    uvicorn.Server(config).run([listening])
