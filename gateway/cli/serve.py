"""`serve` and `demo`: the database, the embedded Valkey where no Redis is named, then one process or several.

What this process decides (keys, Redis, folders) it writes into its environment: the workers read the same settings
as anybody.
"""

import contextlib
import os
import resource
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click
import uvicorn
from redis.exceptions import RedisError
from uvicorn.config import STARTUP_FAILURE

from gateway.adapters.embedded import EmbeddedError, EmbeddedValkey
from gateway.adapters.hangup import has_terminal
from gateway.adapters.metrics import MULTIPROCESS_DIR
from gateway.adapters.redis_client import connect
from gateway.cli.database import prepare_or_exit, secret_or_exit
from gateway.cli.draining import DrainingServer, Supervisor
from gateway.cli.protocol import GatheringProtocol
from gateway.cli.terminal import catalogue_or_exit, settings_or_exit, stop
from gateway.core.keys import mint
from gateway.settings import WORKERS, Settings

HTTP: Final[dict[str, Any]] = {
    "http": GatheringProtocol,
    "ws": "none",
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "date_header": False,
    "proxy_headers": False,
}
"""How uvicorn speaks HTTP. With a log of its own, and headers that it adds, no answer would take the short way."""
_LAST_ANSWERS: Final = 30
_STANDSTILL: Final = 60
_NO_KEYS: Final = """there is no key, so nobody could use the gateway. Make one and start again:

    gateway302 teams create my-team
    gateway302 keys create my-team my-program

or set GATEWAY_KEYS to name=secret, or start with --fresh-key to have one made for this run."""
_NO_UPSTREAM: Final = """no key of 302.AI is set. Set AI302_API_KEY (or GATEWAY_UPSTREAM_KEYS) to yours, \
or try everything without one: gateway302 demo"""


def _options(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64))(command)
    command = click.option("--port", default=8302, show_default=True, type=click.IntRange(0, 65535))(command)
    return click.option("--host", default="127.0.0.1", show_default=True)(command)


@click.command()
@_options
@click.option("--fresh-key", is_flag=True, help="Make a key for this run and print it with a line to paste.")
def serve(host: str, port: int, workers: int, *, fresh_key: bool) -> None:
    """Run the gateway."""
    _run(host, port, workers, fresh_key=fresh_key)


@click.command()
@_options
def demo(host: str, port: int, workers: int) -> None:
    """Run the gateway with the simulator as upstream and a fresh key, and print the line to paste."""
    with contextlib.ExitStack() as stack:
        # A folder and a Valkey of its own: no other gateway may ever find the simulator's pictures.
        os.environ["GATEWAY_DATA_DIR"] = stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway302-demo-"))
        for name in ("GATEWAY_REDIS_URL", "GATEWAY_CACHE_REDIS_URL", "GATEWAY_DATABASE_URL"):
            os.environ.pop(name, None)
            os.environ.pop(f"{name}_FILE", None)
        os.environ["GATEWAY_UPSTREAM_URL"] = stack.enter_context(_simulator())
        os.environ["GATEWAY_UPSTREAM_KEYS"] = "sk-simulator"
        _run(host, port, workers, fresh_key=True)


def _run(host: str, port: int, workers: int, *, fresh_key: bool) -> None:
    settings = settings_or_exit()
    catalogue_or_exit(settings)
    key = mint(secrets.randbits(192)) if fresh_key else None
    if key is not None:
        os.environ["GATEWAY_KEYS"] = ",".join(filter(None, [settings.keys, f"fresh={key}"]))
    if not settings.upstream_keys:
        stop(_NO_UPSTREAM)
    secret_or_exit(settings)
    # What cannot be asked now is not refused: the database may come back, with keys in it.
    if not prepare_or_exit(settings) and key is None and not settings.keys:
        stop(_NO_KEYS)
    _allow_many_connections()
    os.environ[WORKERS] = str(workers)
    # After uvicorn has stopped it sends itself the signal again; what is below must still run.
    signal.signal(signal.SIGTERM, _noted)
    signal.signal(signal.SIGINT, _noted)
    signal.signal(signal.SIGHUP, _noted)
    with contextlib.ExitStack() as stack:
        listening = _bind(host, port, shared=workers > 1)
        stack.callback(listening.close)
        _redis(settings, stack)
        base = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
        threading.Thread(target=_announce, args=(listening.getsockname(), base, key), daemon=True).start()
        failed = _serve_here(listening) if workers == 1 else _serve_with(workers, listening, stack)
    sys.exit(3 if failed else 0)


def _serve_here(listening: socket.socket) -> bool:
    os.environ.pop(MULTIPROCESS_DIR, None)
    server = DrainingServer(_config(1))
    server.run([listening])
    return not server.started


def _serve_with(workers: int, listening: socket.socket, stack: contextlib.ExitStack) -> bool:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway302-metrics-"))
    os.environ[MULTIPROCESS_DIR] = folder
    supervisor = Supervisor(_config(workers), [_OwnSocket.like(listening)])
    supervisor.had_terminal = has_terminal()
    supervisor.run()
    return any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes)


def _config(workers: int) -> uvicorn.Config:
    return uvicorn.Config(
        "gateway.app:create",
        factory=True,
        workers=workers,
        loop="uvloop",
        lifespan="on",
        **HTTP,
        # Longer than the pools of clients and proxies keep theirs, so that it is they who let go.
        timeout_keep_alive=75,
        # By then all flights have landed: so long the last answers may take to be read.
        timeout_graceful_shutdown=_LAST_ANSWERS,
        # A worker that stands still for a moment is not killed for it, with all that it has in flight.
        timeout_worker_healthcheck=_STANDSTILL,
    )


class _OwnSocket(socket.socket):
    """A socket that becomes a new one, bound to the same address, in the worker it is handed to.

    One SO_REUSEPORT socket a worker: on a shared one, all connections may end up with one worker.
    """

    @classmethod
    def like(cls, bound: socket.socket) -> "_OwnSocket":
        return cls(bound.family, bound.type, fileno=os.dup(bound.fileno()))

    def __reduce__(self) -> tuple[object, ...]:
        host, port = self.getsockname()[:2]
        return _reuse_port, (host, port)


def _bind(host: str, port: int, *, shared: bool) -> socket.socket:
    """Take the port, or say who could have it.

    Where it will be shared by our workers, the socket only holds the port for them.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # Without SO_REUSEPORT first: with it, a second gateway on the same port would quietly take half of the
        # requests.
        alone = socket.create_server((host, port), family=family, backlog=2048)
        if not shared:
            return alone
        port = alone.getsockname()[1]
        alone.close()
        return _reuse_port(host, port)
    except OSError as exc:
        stop(f"cannot listen on {host}:{port}: {exc.strerror}; --port takes another, 0 a free one")


def _reuse_port(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((host, port))
    return sock


def _redis(settings: Settings, stack: contextlib.ExitStack) -> None:
    for name, url in (("REDIS", settings.redis_url), ("CACHE_REDIS", settings.cache_redis_url)):
        try:
            _ = connect(url) if url else None
        except (ValueError, RedisError) as exc:
            stop(f"GATEWAY_{name}_URL is wrong: {exc}")
    if settings.redis_url:
        return
    embedded = EmbeddedValkey(
        Path(settings.data_dir),
        lambda: click.echo("gateway302: the embedded Valkey ended; starting it again", err=True),
    )
    stack.callback(embedded.stop)
    try:
        embedded.start()
    except EmbeddedError as exc:
        stop(str(exc))
    os.environ["GATEWAY_REDIS_URL"] = embedded.url


@contextlib.contextmanager
def _simulator() -> Iterator[str]:
    """The simulator in a process of its own, on a free port; yields its URL."""
    command = [sys.executable, "-m", "gateway", "simulate", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)  # noqa: S603 - ourselves
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line.startswith("http"):
            stop("the simulator does not start")
        yield line.split()[0]
    finally:
        process.terminate()
        process.wait()


def _announce(address: tuple[str, int], base: str, key: str | None) -> None:
    """Tell a person where it listens, once it does."""
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(address[:2], timeout=1):
            break
        time.sleep(0.05)
    click.echo(f"gateway302: listening on {base}", err=True)
    if key is None:
        return
    body = '{"model": "flux-dev", "prompt": "a red fox in the snow", "size": "1024x1024"}'
    curl = ["curl", f"{base}/v1/images/generations", "-H", f"Authorization: Bearer {key}"]
    curl += ["-H", "Content-Type: application/json", "-d", body]
    click.echo(f"\nYour key:\n\n    {key}\n\nDraw a picture; the answer holds its URL:\n\n    {shlex.join(curl)}\n")


def _allow_many_connections() -> None:
    """A thousand calls in flight need two thousand sockets; many shells allow 1024 open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _noted(_signal: int, _frame: FrameType | None) -> None:
    return None
