"""One round of measurements: every load on every server that it is for, one after the other."""

import socket
import sys
import time
from dataclasses import dataclass, field, replace
from subprocess import Popen

import msgspec

from bench import proc
from bench.fleet import BenchError, Fleet, cpus
from bench.loader import Run
from bench.probe import Probed
from bench.prompts import Prompts, whole
from bench.servers import Gateway, Server

HITS = 500  # for counting commands
QUIET = 1.0  # seconds without load: to settle, and to count what the store does by itself
LEEWAY = 60.0
START_UP = 0.5  # seconds a loader needs before it opens connections, at the most
LIFT = 10_000_000  # more prompts than any window can send


@dataclass(frozen=True)
class Load:
    """A kind of load: the loader's options, and how a cache has to answer it."""

    name: str
    cache: str
    seconds: float
    connections: int = 32
    ramp: float = 0.0
    warm: float = 0.5
    options: tuple[str, ...] = ()


# The hit's prompt is the one `count_commands` stores. 1,500 callers who think for 0.5 s: 1,000 in flight.
HIT = Load("hit", "hit", seconds=3.0)
TRACED = Load("hit, each with a trace", "hit", seconds=3.0, options=("--traced",))
MISS = Load("miss", "miss", seconds=3.0, options=("--unique",))
ONE = Load("one connection", "miss", seconds=2.0, connections=1, options=("--unique",))
THOUSAND = Load(
    "1,000 in flight",
    "miss",
    seconds=6.0,
    connections=1500,
    ramp=2.5,
    warm=2.0,  # so that what the opening of the connections held up is over
    options=("--unique", "--wait", "1000", "--jitter", "500", "--think", "0.5"),
)
# The same pace for a server that answers at once.
THOUSAND_A_SECOND = replace(THOUSAND, seconds=4.0, warm=0.5, options=("--unique", "--think", "1.5"))


@dataclass
class Round:
    """What one round found, by load and server."""

    runs: dict[tuple[str, str], Run] = field(default_factory=dict)
    probes: dict[tuple[str, str], Probed] = field(default_factory=dict)
    scrapes: dict[tuple[str, str], Probed] = field(default_factory=dict)
    idle_bytes: int = 0
    stalled_bytes: int = 0
    """What 64 readers that read nothing needed, beyond an idle worker."""
    round_trips: float = 0.0
    commands: dict[str, float] = field(default_factory=dict)


class Measuring:
    """Puts loads on servers and keeps what that shows in its round; `scale` shortens every window."""

    def __init__(self, fleet: Fleet, scale: float, title: str) -> None:
        self.fleet = fleet
        self.scale = scale
        self.title = title
        self.round = Round()
        self.sent = 1  # prompts up to this number are used up

    def run(self, load: Load, server: Server) -> None:
        """Put one load on one server; a wrong answer ends the benchmark."""
        result = self._ended(self._started(load, server), load)
        if result.errors:
            raise BenchError(f"{load.name}, {server.name}: {result.errors} wrong answers, such as:\n{result.example}")
        self.round.runs[load.name, server.name] = result

    def probed(self, load: Load, server: Server) -> Run:
        """Put one load on one server with a probe of its event loop and, on the gateway, a scrape each second."""
        loader = self._started(load, server)
        probe = self._probe(load, server, "--first")
        scrape = (
            self._probe(load, server, "--path", "/metrics", "--every", "1") if isinstance(server, Gateway) else None
        )
        result = self._ended(loader, load)
        self.keep(self.round.probes, load, server, probe)
        if scrape:
            self.keep(self.round.scrapes, load, server, scrape)
        return result

    def say(self, what: str) -> None:
        """Tell the person who waits how far we are."""
        print(f"bench: {self.title} {what}", file=sys.stderr, flush=True)

    def _started(self, load: Load, server: Server) -> Popen[bytes]:
        self.say(f"{load.name}: {server.name}")
        expect, watch = [*server.expect], [server.pid]
        if load.cache in server.cache_marks:
            expect.append(server.cache_marks[load.cache])
        if isinstance(server, Gateway):
            watch.append(server.store_pid)
        command = ["--port", str(server.port), "--path", server.path, "--connections", str(load.connections)]
        command += ["--seconds", str(load.seconds * self.scale), "--ramp", str(load.ramp)]
        command += ["--warm", str(load.warm), *load.options]
        command += [part for text in expect for part in ("--expect", text)]
        command += [part for header in server.headers for part in ("--header", header)]
        command += [part for pid in watch for part in ("--watch", str(pid))]
        if "--unique" in load.options:
            command += ["--first", str(self.sent)]
            self.sent += LIFT
        return self.ours("bench.loader", *command)

    def _ended(self, loader: Popen[bytes], load: Load) -> Run:
        return msgspec.json.decode(self.fleet.output(loader, load.ramp + load.seconds + LEEWAY), type=Run)

    def _probe(self, load: Load, server: Server, *options: str) -> Popen[bytes]:
        """Start a probe that sees what the measured window sees."""
        timing = ["--delay", str(START_UP + load.ramp + load.warm), "--seconds", str(load.seconds * self.scale - 0.5)]
        watch = ["--watch", str(server.pid)]
        return self.ours("bench.probe", "--port", str(server.port), *timing, *watch, *options)

    def keep(self, where: dict[tuple[str, str], Probed], load: Load, server: Server, probe: Popen[bytes]) -> None:
        """Wait for a probe's end and keep what it saw."""
        where[load.name, server.name] = msgspec.json.decode(self.fleet.output(probe, LEEWAY), type=Probed)

    def ours(self, module: str, *options: str) -> Popen[bytes]:
        """Start one of our own programs beside the server under test."""
        return self.fleet.start([sys.executable, "-m", module, *options], on=cpus()[1])


def measure(measuring: Measuring, servers: list[Server], gateway: Gateway) -> Round:
    """Take one round: `servers` are those beside the gateway, which has just started."""
    floors = [server for server in servers if server.name == "floor"]
    passing = [server for server in servers if server.name == "nginx"]
    direct = [server for server in servers if server.name == "direct"]
    found = measuring.round
    ask(gateway, Prompts(first=0))
    time.sleep(QUIET)  # an idle worker is measured, not one that has just started
    found.idle_bytes = proc.resident_bytes(gateway.pid)
    for server in (*direct, *passing, gateway):
        found.runs[THOUSAND.name, server.name] = measuring.probed(THOUSAND, server)
    for server in floors:
        measuring.probed(THOUSAND_A_SECOND, server)
    measuring.say("commands of a hit")
    count_commands(found, gateway)
    for load in (HIT, TRACED, MISS):
        for server in (*floors, *passing, gateway):
            measuring.run(load, server)
        for server in (*floors, gateway):
            measuring.probed(load, server)
    for server in (*direct, *passing, gateway):
        measuring.run(ONE, server)
    return found


def count_commands(found: Round, gateway: Gateway) -> None:
    """Count what one hit after the other asks of the store, less what the store is asked while nothing happens."""
    ask(gateway, Prompts())
    before = _counted(gateway)
    time.sleep(QUIET)  # so long the store's own commands are counted
    between = _counted(gateway)
    began = time.monotonic()
    ask(gateway, Prompts(), times=HITS, expect=gateway.cache_marks["hit"].encode())
    quiet_share = (time.monotonic() - began) / QUIET
    after = _counted(gateway)
    each = {
        name: (after[name] - between.get(name, 0) - (between.get(name, 0) - before.get(name, 0)) * quiet_share) / HITS
        for name in after
    }
    found.round_trips = each.pop("reads")
    found.commands = {name: count for name, count in sorted(each.items()) if count > 0.05}


def _counted(gateway: Gateway) -> dict[str, float]:
    """Read how often each command was called, and how often the store read from any client (our question is one)."""
    stats = gateway.store.info("everything")
    calls = {
        name.removeprefix("cmdstat_"): value["calls"] for name, value in stats.items() if name.startswith("cmdstat_")
    }
    return {**calls, "reads": stats["total_reads_processed"]}


def ask(server: Server, prompts: Prompts, times: int = 1, expect: bytes = b" 200 ") -> None:
    """Send requests one after the other and check every answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        for _ in range(times):
            connection.sendall(prompts.next()[0])
            answer = bytearray()
            while not whole(answer) and (more := connection.recv(1 << 20)):
                answer += more
            if b" 200 " not in answer or expect not in answer:
                raise BenchError(f"the {server.name} answered:\n{answer[:2000].decode(errors='replace')}")
