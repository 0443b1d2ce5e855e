"""A probe of the event loop, from outside: GET one path at a steady pace on one connection, and how long that took.

While the server's loop is blocked it answers nobody, so the longest answer bounds the longest block from above; it
also holds the queue of requests that were ready at the same time, which is why the floor is probed under the same load.
Where the system allows it the probe runs with real-time priority, so that it does not wait for a CPU itself.

Prints one JSON object, a `Probed`. With `--path /metrics --every 1` the same is the scraper.
"""

import argparse
import contextlib
import http.client
import os
import time

import msgspec

from bench import proc


class Probed(msgspec.Struct, frozen=True):
    """What one probe saw; times in milliseconds."""

    count: int
    size: int
    p50: float
    p99_9: float
    max: float
    held_up: float
    """The share of the time in which others had the CPU of the watched process."""


def probe(port: int, path: str, every: float, seconds: float, watch: int) -> Probed:
    """Ask until the time is over; an answer that is no 200 stops the probe."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    took: list[float] = []
    size = 0
    held_up = proc.held_up_seconds(watch)
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        connection.request("GET", path)
        answer = connection.getresponse()
        size = len(answer.read())
        if answer.status != 200:
            raise SystemExit(f"GET {path} answered {answer.status}")
        took.append(time.perf_counter() - began)
        time.sleep(max(0.0, every - took[-1]))  # the pace that was asked for
    held_up = proc.held_up_seconds(watch) - held_up
    took.sort()
    return Probed(
        count=len(took),
        size=size,
        p50=took[len(took) // 2] * 1000,
        p99_9=took[int(len(took) * 0.999)] * 1000,
        max=took[-1] * 1000,
        held_up=held_up / seconds,
    )


def main() -> None:
    """Read the command line, probe and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/livez")
    parser.add_argument("--every", type=float, default=0.002, help="seconds")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds to wait before the first")
    parser.add_argument("--watch", type=int, required=True, help="the process to tell the held-up time of")
    parser.add_argument("--first", action="store_true", help="take precedence over other processes, where allowed")
    options = parser.parse_args()
    time.sleep(options.delay)  # until the window of the load beside it begins
    if options.first:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    found = probe(options.port, options.path, options.every, options.seconds, options.watch)
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main()
