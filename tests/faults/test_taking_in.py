"""Workers that are killed while they copy a picture into the media store: it is paid, and found where 302 has it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from random import Random

import orjson
import pytest
import redis.asyncio

from tests.acceptance.programs import unique
from tests.faults.crowd import Came, crowd
from tests.faults.judge import read_books
from tests.faults.scene import Scene, Setup, staged

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

STARTED = '"event":"started","pid":'


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def scene(anyio_backend: str) -> AsyncIterator[Scene]:
    async with staged(
        Setup(workers=2, upstream_timeout=20, delay=0.05, settings={"media": "local"}), Random(6)
    ) as made:
        assert made.program
        first = await asyncio.to_thread(made.program.out.wait_for, f"{STARTED}([0-9]+)")
        await asyncio.to_thread(made.program.out.wait_for, f"{STARTED}(?!{first[1]}\\b)")
        yield made


async def ask(scene: Scene, prompt: str) -> Came:
    [came] = await crowd(scene.port, scene.key, [{"model": "dall-e-3-t2i", "prompt": prompt}], 1)
    return came


async def kept(scene: Scene) -> list[str]:
    """The addresses in the cache."""
    async with redis.asyncio.Redis(unix_socket_path=str(scene.folder / "valkey.sock")) as store:
        names = [name async for name in store.scan_iter("gw:*:image")]
        values = await store.mget(names) if names else []
        return [orjson.loads(value)["url"] for value in values if isinstance(value, bytes)]


async def ended(scene: Scene) -> str:
    """The picture's address in the ledger, once its call has ended there."""
    while not (urls := [row.url for row in read_books(scene).rows if row.state == "succeeded"]):  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0.01)
    [url] = urls
    return str(url)


async def taking_in(scene: Scene, prompt: str) -> tuple[asyncio.Task[Came], str]:
    """A request whose picture is held back from the one who copies it, and where 302 has it."""
    scene.wire.shown.clear()
    asking = asyncio.get_running_loop().create_task(ask(scene, prompt))
    await scene.wire.looked.wait()
    return asking, await ended(scene)


async def ask_again(scene: Scene, prompt: str) -> Came:
    """Ask until there is an answer: who was killed may still take connections, and its successor not yet."""
    while True:
        with suppress(ConnectionError):
            return await ask(scene, prompt)
        await asyncio.sleep(0.01)


async def test_what_was_drawn_is_found_though_every_worker_was_killed_before_its_copy_lay_in_the_store(
    scene: Scene,
) -> None:
    prompt = unique()
    asking, drawn = await taking_in(scene, prompt)
    found = await kept(scene)

    for pid in scene.workers:
        os.kill(pid, signal.SIGKILL)
    await asyncio.gather(asking, return_exceptions=True)
    again = await ask_again(scene, prompt)

    assert found == [drawn]
    assert (again.status, again.body["data"]) == (200, [{"url": drawn}])
    assert await kept(scene) == [drawn]
    assert len(scene.simulator.calls(prompt)) == 1


async def test_the_copy_takes_the_place_of_302s_own_address(scene: Scene) -> None:
    prompt = unique()
    asking, drawn = await taking_in(scene, prompt)
    before = await kept(scene)
    scene.wire.shown.set()
    first = await asking
    after = await kept(scene)
    again = await ask(scene, prompt)

    [url] = [picture["url"] for picture in first.body["data"]]
    name = url.rpartition("/")[2]
    assert (before, after) == ([drawn], [f"media:{name}"])
    assert url == f"http://127.0.0.1/v1/media/{name}"
    assert again.body["data"] == first.body["data"]
    assert len(scene.simulator.calls(prompt)) == 1
