"""Measure the gateway beside a bare Starlette server (the floor) and nginx, and print one table of ratios.

The server under test has one CPU for itself; load, fake upstream and Valkey share the others. All servers are measured
in turn in every round, so that what disturbs the machine disturbs them alike: trust the ratios, not the absolutes.
"""

import argparse
import os
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bench import debian, rivals, servers
from bench.fleet import BenchError, Fleet
from bench.pictures import measure_pictures
from bench.report import GOALS, RIVAL_GOALS, report
from bench.rounds import Measuring, Round, measure


def main() -> None:
    """Run the rounds and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="the table shows medians over them (default 3)")
    parser.add_argument("--quick", action="store_true", help="one short round: for a first look, not for a verdict")
    parser.add_argument("--rivals", action="store_true", help="beside LiteLLM and Portkey; `make rivals` installs them")
    parser.add_argument("--command", default=servers.SERVE, help="what starts the gateway (default: %(default)s)")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    count, scale = (1, 0.5) if options.quick else (max(1, options.rounds), 1.0)
    run, goals = (_rival_rounds, RIVAL_GOALS) if options.rivals else (_rounds, GOALS)
    began = time.monotonic()
    try:
        rounds = run(count, scale, shlex.split(options.command))
    except BenchError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit("bench: interrupted")
    version = ".".join(str(part) for part in sys.version_info[:3])
    print(f"Python {version}, {len(os.sched_getaffinity(0))} CPUs, rounds: {count}, {time.monotonic() - began:.0f} s\n")
    print(report(rounds, goals))


def _rounds(count: int, scale: float, command: list[str]) -> list[Round]:
    """Start what stays up throughout, and a fresh gateway for each round."""
    binary = debian.nginx()
    if binary is None:
        _say(debian.MISSING)
    rounds = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Fleet(Path(folder)) as fleet:
        upstream = servers.upstream(fleet)
        others = [upstream, servers.floor(fleet)]
        if binary:
            others.append(servers.passing(fleet, binary, upstream))
        for number in range(1, count + 1):
            gateway = servers.gateway(fleet, command, Path(folder) / f"data{number}", upstream)
            measuring = Measuring(fleet, scale, f"{number}/{count}")
            rounds.append(measure(measuring, others, gateway))
            gateway.stop(fleet)
            # A fresh one, whose memory has not grown on other loads.
            gateway = servers.gateway(fleet, command, Path(folder) / f"pictures{number}", upstream)
            measure_pictures(measuring, others, gateway)
            gateway.stop(fleet)
    return rounds


def _rival_rounds(count: int, scale: float, command: list[str]) -> list[Round]:
    """Start the gateway and its rivals afresh in each round, each for itself."""
    rivals.check()
    rounds = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Fleet(Path(folder)) as fleet:
        upstream = servers.upstream(fleet)
        for number in range(1, count + 1):
            measuring = Measuring(fleet, scale, f"{number}/{count}")
            gateway = servers.gateway(fleet, command, Path(folder) / f"data{number}", upstream)
            rivals.measure_server(measuring, gateway)
            gateway.stop(fleet)
            rivals.measure_rivals(measuring, upstream)
            rounds.append(measuring.round)
    return rounds


def _say(what: str) -> None:
    print(f"bench: {what}", file=sys.stderr, flush=True)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    """Leave as after an error, so that everything started is ended."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
