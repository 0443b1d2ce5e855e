"""The load: keep-alive connections that post image requests, and what their answers took.

Hand-written over uvloop, so that it costs less than any server it measures. Each connection sends its next request when
the last one is answered, after a random think time where one is asked for. Every answer is checked: what is not a 200,
or lacks a text that was asked for, is an error. With `--wait 1000 --jitter 500` each prompt asks the fake upstream
(`bench.upstream`) for an answer after 500-1500 ms, the same ones in every run, and the time beyond that is reported
as added. The CPU time and memory of the processes to watch are read at the borders of the measured window.

Prints one JSON object, a `Run`.
"""

import argparse
import asyncio
import contextlib
import random
import resource
import time
from array import array
from collections.abc import Iterable
from typing import cast

import msgspec
import uvloop

from bench import proc
from bench.prompts import PATH, SEED, Prompts, Wait, whole

SAMPLE_EVERY = 0.1
RECONNECT_AFTER = 0.2
DRAIN = 5.0


class Quantiles(msgspec.Struct, frozen=True):
    """Milliseconds."""

    p50: float
    p90: float
    p99: float
    max: float


class Run(msgspec.Struct, frozen=True):
    """What one window of load showed."""

    requests: int
    rps: float
    in_flight: float
    took: Quantiles
    added: Quantiles
    errors: int
    example: str
    cpu_us: list[float]
    """A request, one for each watched process."""
    held_up: float
    """The share of the window in which others had the CPU of the first watched process: what disturbed the run."""
    loader_us: float
    peak_bytes: int
    """Of the first watched process."""


class Load:
    """The whole load: what its connections send, and what is counted."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.port = options.port
        wait = Wait(options.wait, options.jitter)
        self.prompts = Prompts(
            options.path,
            wait,
            unique=options.unique,
            traced=options.traced,
            first=options.first,
            headers=options.header,
            megabytes=options.megabytes,
        )
        self.rng = random.Random(SEED)
        self.mean_think = options.think
        self.expect = [text.encode() for text in options.expect]
        self.running = True
        self.busy = 0
        self.errors = 0
        self.example = ""
        self.begin()

    def begin(self) -> None:
        """Forget the times so far; errors stay."""
        self.took = array("d")
        self.added = array("d")

    def record(self, took: float, wait: float, answer: bytearray) -> None:
        """Count one answer."""
        if answer[9:12] == b"200" and all(text in answer for text in self.expect):
            self.took.append(took)
            self.added.append(took - wait)
        else:
            self.fail(answer[:2000].decode(errors="replace"))

    def fail(self, why: str) -> None:
        """Count one error and keep the first as an example."""
        self.errors += 1
        self.example = self.example or why

    async def idle(self) -> None:
        """Wait until no request is without its answer."""
        while self.busy:  # noqa: ASYNC110 - an event would cost every request something
            await asyncio.sleep(0.01)

    def think(self) -> float:
        """Say how long to pause before the next request."""
        return self.rng.uniform(0, 2 * self.mean_think) if self.mean_think else 0.0


class Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self, load: Load, loop: asyncio.AbstractEventLoop) -> None:
        self.load = load
        self.loop = loop
        self.waiting = False
        self.buffer = bytearray()
        self.lost = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self.transport = cast("asyncio.Transport", transport)
        self.send()

    def send(self) -> None:
        """Send the next request, unless the load is over."""
        if not self.load.running or self.transport.is_closing():
            return
        request, self.wait = self.load.prompts.next()
        self.waiting = True
        self.load.busy += 1
        self.sent = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take a piece of an answer and, when it is whole, go on."""
        self.buffer += data
        try:
            if not whole(self.buffer):
                return
        except ValueError as error:
            self.load.fail(f"{error}: {self.buffer!r}")
            self.transport.abort()
            return
        answer, self.buffer = self.buffer, bytearray()
        self.waiting = False
        self.load.busy -= 1
        self.load.record(time.perf_counter() - self.sent, self.wait, answer)
        if think := self.load.think():
            self.loop.call_later(think, self.send)
        else:
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a request without answer as an error."""
        if self.waiting:
            self.load.busy -= 1
            self.load.fail(f"connection closed before the answer: {exc}")
        if not self.lost.done():  # the load may be over
            self.lost.set_result(None)


async def keep_connected(load: Load, loop: asyncio.AbstractEventLoop, delay: float) -> None:
    """Open a connection after a delay, and again whenever it is lost; a refusal is an error."""
    await asyncio.sleep(delay)
    while load.running:
        try:
            _, connection = await loop.create_connection(lambda: Connection(load, loop), "127.0.0.1", load.port)
        except OSError as error:
            load.fail(f"connect: {error}")
        else:
            await connection.lost
        await asyncio.sleep(RECONNECT_AFTER)


async def peak_memory(pids: list[int]) -> int:
    """Return the highest resident memory of the first watched process until cancelled."""
    peak = 0
    with contextlib.suppress(asyncio.CancelledError):
        while pids:
            peak = max(peak, proc.resident_bytes(pids[0]))
            await asyncio.sleep(SAMPLE_EVERY)
    return peak


def quantiles(seconds: Iterable[float]) -> Quantiles:
    """Order times and pick from them."""
    ordered = sorted(seconds) or [0.0]
    picked = [ordered[min(len(ordered) - 1, int(len(ordered) * point))] * 1000 for point in (0.5, 0.9, 0.99, 1.0)]
    return Quantiles(*picked)


async def window(load: Load, seconds: float, watch: list[int]) -> Run:
    """Measure for some seconds."""
    memory = asyncio.create_task(peak_memory(watch))
    load.begin()
    before = [proc.cpu_seconds(pid) for pid in watch]
    held_up = sum(proc.held_up_seconds(pid) for pid in watch[:1])
    own, started = time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    seconds, own = time.perf_counter() - started, time.process_time() - own
    used = [proc.cpu_seconds(pid) - cpu for pid, cpu in zip(watch, before, strict=True)]
    held_up = sum(proc.held_up_seconds(pid) for pid in watch[:1]) - held_up
    took, added = load.took, load.added
    load.begin()
    memory.cancel()
    count = max(1, len(took))
    return Run(
        requests=len(took),
        rps=len(took) / seconds,
        in_flight=sum(took) / seconds,
        took=quantiles(took),
        added=quantiles(added),
        errors=load.errors,
        example=load.example,
        cpu_us=[cpu / count * 1e6 for cpu in used],
        held_up=held_up / seconds,
        loader_us=own / count * 1e6,
        peak_bytes=await memory,
    )


async def run(options: argparse.Namespace) -> Run:
    """Open the connections, measure the middle, and let the last requests end."""
    loop = asyncio.get_running_loop()
    load = Load(options)
    count = options.connections
    tasks = [loop.create_task(keep_connected(load, loop, options.ramp * n / count)) for n in range(count)]
    await asyncio.sleep(options.ramp + options.warm)
    result = await window(load, options.seconds, options.watch)
    load.running = False
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(load.idle(), DRAIN)
    for _ in range(load.busy):
        load.fail(f"no answer within {DRAIN:.0f} s after the end of the load")
    for task in tasks:
        task.cancel()
    return msgspec.structs.replace(result, errors=load.errors, example=load.example)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default=PATH)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3.0, help="the measured window")
    parser.add_argument("--warm", type=float, default=0.5, help="seconds before it")
    parser.add_argument("--ramp", type=float, default=0.0, help="seconds over which connections open")
    parser.add_argument("--think", type=float, default=0.0, help="mean pause between answer and next request, seconds")
    parser.add_argument("--wait", type=int, default=0, help="mean delay asked of the fake upstream, ms")
    parser.add_argument("--jitter", type=int, default=0, help="and how much it varies, ms")
    parser.add_argument("--unique", action="store_true", help="no prompt twice")
    parser.add_argument("--traced", action="store_true", help="a header in each that no other has")
    parser.add_argument("--megabytes", type=int, default=0, help="ask for the bytes of a picture of this size")
    parser.add_argument("--first", type=int, default=0, help="the number before the first prompt's")
    parser.add_argument("--header", action="append", default=[], help="a field that every request has, `name: value`")
    parser.add_argument("--expect", action="append", default=[], help="a text that every answer must hold")
    parser.add_argument("--watch", type=int, action="append", default=[], help="a process whose CPU time to count")
    return parser.parse_args()


def main() -> None:
    """Run and print."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    print(msgspec.json.encode(uvloop.run(run(arguments()))).decode())


if __name__ == "__main__":
    main()
