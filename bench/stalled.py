"""Readers that ask for a picture and then read nothing for a while: what the server holds for them meanwhile.

Each connection sends one request and reads none of its answer until the time is over; then every answer is read to its
end and checked. Meanwhile the resident memory of the watched process is sampled.

Prints one JSON object, a `Stalled`.
"""

import argparse
import contextlib
import json
import socket
import time
from base64 import b64decode

import msgspec

from bench import proc
from bench.prompts import Prompts, whole

SAMPLE_EVERY = 0.02  # seconds between two looks at the memory, which tells of no change by itself
PATIENCE = 30.0
RAMP = 1.0  # seconds over which the readers come


class Stalled(msgspec.Struct, frozen=True):
    """What the watched process needed while nobody read."""

    peak_bytes: int


def stall(port: int, readers: int, megabytes: int, seconds: float, watch: int) -> Stalled:
    """Ask on all connections, wait, then read all answers."""
    prompts = Prompts(megabytes=megabytes)
    peak = 0
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE)) for _ in range(readers)
        ]
        for connection in connections:
            connection.sendall(prompts.next()[0])
            time.sleep(RAMP / readers)  # they come one after the other, as readers do
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            peak = max(peak, proc.resident_bytes(watch))
            time.sleep(SAMPLE_EVERY)  # the kernel tells of no peak but that of the whole life
        for connection in connections:
            check(answer_of(connection), megabytes)
            peak = max(peak, proc.resident_bytes(watch))
    return Stalled(peak)


def answer_of(connection: socket.socket) -> bytes:
    """Read one answer to its end."""
    answer = bytearray()
    while not whole(answer):
        piece = connection.recv(1 << 20)
        if not piece:
            raise SystemExit("an answer broke off")
        answer += piece
    return bytes(answer)


def check(answer: bytes, megabytes: int) -> None:
    """Stop unless an answer holds one picture of the size that was asked for."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head:
        raise SystemExit(answer[:2000].decode(errors="replace"))
    if len(b64decode(json.loads(body)["data"][0]["b64_json"], validate=True)) != megabytes << 20:
        raise SystemExit("a picture of another size")


def main() -> None:
    """Read the command line, stall and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--readers", type=int, default=64)
    parser.add_argument("--megabytes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--watch", type=int, required=True, help="the process whose memory to watch")
    options = parser.parse_args()
    found = stall(options.port, options.readers, options.megabytes, options.seconds, options.watch)
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main()
