"""The servers of a run: the fake upstream, the floor, nginx and the gateway."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import redis

from bench import nginx, proc
from bench.fleet import BenchError, Fleet, cpus, free_port
from bench.prompts import KEY, PATH

UPSTREAM_PATH = "/302/image/generate"
SERVE = f"{sys.executable} -m gateway serve --host 127.0.0.1 --port {{port}}"


@dataclass(frozen=True)
class Server:
    """Where to send the load, what a good answer holds, and whose CPU time counts."""

    name: str
    port: int
    path: str
    pid: int
    expect: tuple[str, ...]


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
    env = {
        "GATEWAY_KEYS": f"bench={KEY}",
        "AI302_API_KEY": "sk-bench",
        "GATEWAY_UPSTREAM_URL": f"http://127.0.0.1:{to.port}",
        "GATEWAY_DATA_DIR": str(data),
    }
    process = fleet.start([part.format(port=port) for part in command], on=server, env=env)
    fleet.ready(process, port)
    worker = proc.listener(process.pid, port)
    if worker is None:
        raise BenchError(f"no process of {command} listens on port {port}")
    for pid in proc.family(process.pid):
        proc.pin(pid, server if pid == worker else others)
    store = redis.Redis(unix_socket_path=str(next(data.rglob("*.sock"))), decode_responses=True)
    store_pid = int(store.info("server")["process_id"])
    return Gateway("gateway", port, PATH, worker, ('"url"',), process, store, store_pid)
