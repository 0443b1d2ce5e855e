"""The part of a round in which pictures travel as base64: what that costs, and what readers that do not read hold."""

import time
from dataclasses import replace

import msgspec

from bench import proc
from bench.prompts import Prompts
from bench.rounds import QUIET, Load, Measuring, ask
from bench.servers import Gateway, Server
from bench.stalled import Stalled
from bench.upstream import READY

# The prompts are known, the bytes are not: each answer fetches its picture anew.
B64 = Load("b64 2 MB", "hit", seconds=4.0, connections=16, options=("--megabytes", "2"))
STALLED = Load("64 stalled, 4 MB", "hit", seconds=4.0, connections=64)
TOLD = ('"b64_json"',)


def measure_pictures(measuring: Measuring, servers: list[Server], gateway: Gateway) -> None:
    """Take this part of a round: the gateway has just started."""
    found = measuring.round
    passing = [replace(server, path=READY, expect=TOLD) for server in servers if server.name == "nginx"]
    gateway = replace(gateway, expect=TOLD)
    ask(gateway, Prompts(first=0))
    time.sleep(QUIET)  # what the first answer made it do in the background is over then
    found.stalled_bytes = -proc.resident_bytes(gateway.pid)
    ask(gateway, Prompts(megabytes=4))
    found.stalled_bytes += _stall(measuring, gateway)
    ask(gateway, Prompts(megabytes=2))
    for server in (*passing, gateway):
        measuring.run(B64, server)
    measuring.probed(B64, gateway)


def _stall(measuring: Measuring, gateway: Gateway) -> int:
    """Let readers stall, with a probe beside them; the most memory that the gateway needed meanwhile."""
    measuring.say(f"{STALLED.name}: {gateway.name}")
    seconds = str(STALLED.seconds * measuring.scale)
    target = ["--port", str(gateway.port), "--watch", str(gateway.pid), "--seconds", seconds]
    reading = measuring.ours("bench.stalled", *target, "--readers", str(STALLED.connections), "--megabytes", "4")
    # From the first request on: it is the fetching that might hold up the loop.
    probe = measuring.ours("bench.probe", *target, "--first")
    measuring.keep(measuring.round.probes, STALLED, gateway, probe)
    return msgspec.json.decode(measuring.fleet.output(reading, 60.0), type=Stalled).peak_bytes
