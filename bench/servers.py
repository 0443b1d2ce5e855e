"""The servers of a run: the fake upstream, the floor, nginx and the gateway."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

import redis

from bench import nginx, proc
from bench.fleet import Fleet, cpus, free_port
from bench.prompts import KEY, PATH

UPSTREAM_PATH = "/302/image/generate"
SERVE = f"{sys.executable} -m gateway serve --host 127.0.0.1 --port {{port}}"
DIGEST = [sys.executable, "-m", "gateway", "keys", "digest", KEY]
SECRET = "of-the-benchmarks-own-0123456789abcdef"  # noqa: S105 - it guards nothing
# Every limit and budget there is, of the team and of the key, and none that the load can reach.
LIMITS = """\
rpm = 1_000_000_000
ipm = 1_000_000_000
concurrency = 1_000_000
budget_day = 1_000_000
budget_month = 1_000_000
"""


@dataclass(frozen=True)
class Server:
    """Where to send the load, what a good answer holds, and whose CPU time counts."""

    name: str
    port: int
    path: str
    pid: int
    expect: tuple[str, ...]
    cache_marks: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    """What an answer also holds, by cache result (`hit` or `miss`), where the server tells which."""
    headers: tuple[str, ...] = field(default=(), kw_only=True)
    """Fields that each request to it carries, as `name: value`."""


@dataclass(frozen=True)
class Gateway(Server):
    """The gateway of one round, with the store it started."""

    process: Popen[bytes]
    store: redis.Redis
    store_pid: int

    def stop(self, fleet: Fleet) -> None:
        """End it with its store."""
        self.store.close()
        fleet.stop(self.process)


def upstream(fleet: Fleet) -> Server:
    """Start the fake of 302.AI; it shares the loader's CPUs."""
    port, (_, others) = free_port(), cpus()
    process = fleet.start([sys.executable, "-m", "bench.upstream", "--port", str(port)], on=others)
    fleet.ready(process, port)
    return Server("direct", port, UPSTREAM_PATH, process.pid, ('"image_url"',))


def floor(fleet: Fleet) -> Server:
    """Start the bare Starlette server."""
    port, (server, _) = free_port(), cpus()
    process = fleet.start([sys.executable, "-m", "bench.floor", "--port", str(port)], on=server)
    fleet.ready(process, port)
    return Server("floor", port, PATH, process.pid, ('"url"',))


def passing(fleet: Fleet, binary: str, to: Server) -> Server:
    """Start nginx in front of the fake upstream."""
    port, (server, _) = free_port(), cpus()
    command = nginx.command(binary, fleet.folder / "nginx", port=port, upstream=to.port)
    process = fleet.start(command, on=server)
    fleet.ready(process, port)
    worker = proc.family(process.pid)[-1]
    return Server("nginx", port, UPSTREAM_PATH, worker, to.expect)


def gateway(fleet: Fleet, command: Sequence[str], data: Path, to: Server) -> Gateway:
    """Start the gateway with a fresh data folder; its worker gets the server's CPU, its store the others."""
    port, (server, others) = free_port(), cpus()
    data.mkdir()
    env = {
        "GATEWAY_SECRET": SECRET,
        "GATEWAY_TEAMS": str(_teams_file(data)),
        "AI302_API_KEY": "sk-bench",
        "GATEWAY_UPSTREAM_URL": f"http://127.0.0.1:{to.port}",
        "GATEWAY_DATA_DIR": str(data),
    }
    process = fleet.start([part.format(port=port) for part in command], on=server, env=env)
    fleet.ready(process, port)
    worker = fleet.listener(process, port)
    for pid in proc.family(process.pid):
        proc.pin(pid, server if pid == worker else others)
    store = redis.Redis(unix_socket_path=str(next(data.rglob("*.sock"))), decode_responses=True)
    store_pid = int(store.info("server")["process_id"])
    marks = {result: f"x-gateway-cache: {result}" for result in ("hit", "miss")}
    return Gateway("gateway", port, PATH, worker, ('"url"',), process, store, store_pid, cache_marks=marks)


def _teams_file(folder: Path) -> Path:
    """Write the file of the one team and its one key."""
    file = folder / "teams.toml"
    digest = subprocess.run(
        DIGEST, env=os.environ | {"GATEWAY_SECRET": SECRET}, check=True, capture_output=True, text=True
    )
    file.write_text(f'[teams.bench]\n{LIMITS}\n[teams.bench.keys.bench]\ndigest = "{digest.stdout.strip()}"\n{LIMITS}')
    return file
