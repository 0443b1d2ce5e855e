"""A request that lay before a worker which stood still, and whose client was answered by another meanwhile."""

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from random import Random

import orjson
import pytest

from tests.acceptance.programs import unique
from tests.faults.judge import read_books
from tests.faults.load import PATH
from tests.faults.scene import Scene, Setup, staged

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

MODEL = "dall-e-3-t2i"
NO_CACHE = {"Cache-Control": "no-cache"}
RETRY = {"x-stainless-retry-count": "1", "Connection": "close"}
GONE = '"code":"client_closed_request"'


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def scene(anyio_backend: str) -> AsyncIterator[Scene]:
    async with staged(Setup(workers=2, delay=0.05), Random(5)) as made:
        assert made.program
        started = '"event":"started","pid":'
        first = await asyncio.to_thread(made.program.out.wait_for, f"{started}([0-9]+)")
        await asyncio.to_thread(made.program.out.wait_for, f"{started}(?!{first[1]}\\b)")
        yield made


def request(scene: Scene, prompt: str, headers: dict[str, str], path: str = PATH) -> bytes:
    data = orjson.dumps({"model": MODEL, "prompt": prompt})
    lines = {
        "Host": "127.0.0.1",
        "Authorization": f"Bearer {scene.key}",
        "Content-Type": "application/json",
        "Content-Length": str(len(data)),
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + data


def serves(pid: int, scene: Scene, port: int) -> bool:
    """Whether a process holds the gateway's end of the connection that comes from a port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {row[9] for row in rows if (row[1][-4:], row[2][-4:]) == (f"{scene.port:04X}", f"{port:04X}")}
    held = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()]
    return any(f"socket:[{inode}]" in held for inode in inodes)


async def connected(scene: Scene) -> tuple[int, asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that a worker has taken, and that worker."""
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    await reader.readuntil(b'"ok"}')
    port = writer.get_extra_info("sockname")[1]
    [pid] = [pid for pid in scene.workers if serves(pid, scene, port)]
    return pid, reader, writer


async def heard(scene: Scene, after: int) -> None:
    """Wait until a gateway has noted that a client of its is gone."""
    assert scene.program
    await asyncio.to_thread(scene.program.out.wait_for, GONE, after)


@pytest.mark.parametrize("path", [PATH, f"{PATH}/async"], ids=["at-once", "later"])
async def test_a_first_attempt_that_comes_after_its_retry_is_not_paid(scene: Scene, path: str) -> None:
    prompt = unique()
    assert scene.program
    said = len(scene.program.out.all)
    pid, _, writer = await connected(scene)
    other, reader, again = await connected(scene)
    while other == pid:
        again.close()
        other, reader, again = await connected(scene)
    os.kill(pid, signal.SIGSTOP)
    try:
        writer.write(request(scene, prompt, NO_CACHE, path))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        with closing(again):
            again.write(request(scene, prompt, {**NO_CACHE, **RETRY}))
            told = await reader.read()
    finally:
        os.kill(pid, signal.SIGCONT)
    await heard(scene, said)

    assert told.startswith(b"HTTP/1.1 200 ")
    assert len(scene.simulator.calls(prompt)) == 1


async def test_who_hangs_up_before_the_ledger_knows_of_it_pays_nothing(scene: Scene) -> None:
    prompt = unique()
    assert scene.program
    said = len(scene.program.out.all)
    before = read_books(scene)
    _, _, writer = await connected(scene)
    other = sqlite3.connect(scene.database_file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        writer.write(request(scene, prompt, {}))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    finally:
        other.execute("ROLLBACK")
        other.close()
    await heard(scene, said)

    after = read_books(scene)
    assert scene.simulator.calls(prompt) == []
    assert (after.spent, after.held) == (before.spent, before.held)
