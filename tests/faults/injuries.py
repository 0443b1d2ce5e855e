"""What is done to a gateway and to what it leans on. Each injury heals by the time it returns."""

import asyncio
import os
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random
from typing import Final

import redis.asyncio

from tests.faults.scene import LEASE, Scene

Injury = Callable[[Scene, Random], Awaitable[None]]


async def kill_gateway(scene: Scene, _lot: Random) -> None:
    """Kill -9 of all its processes; started again on the same folder."""
    await scene.kill()
    await scene.start()


async def kill_worker(scene: Scene, lot: Random) -> None:
    """Kill -9 of one of several workers; their supervisor starts another."""
    with suppress(ProcessLookupError):
        os.kill(await scene.a_worker(lot), signal.SIGKILL)


async def end_worker(scene: Scene, lot: Random) -> None:
    """SIGTERM to one of several workers, which lands its flights and ends; their supervisor starts another."""
    scene.ending.add(pid := await scene.a_worker(lot))
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


async def end_gateway(scene: Scene, _lot: Random) -> None:
    """SIGTERM, and a new start."""
    code = await scene.terminate()
    assert code == 0, (code, scene.said[-20:])
    await scene.start()


async def stop_worker(scene: Scene, lot: Random) -> None:
    """A worker stands still, and goes on as if nothing had been."""
    await _stopped(await scene.a_worker(lot), lot.uniform(0.2, 2.0))


async def stop_long(scene: Scene, lot: Random) -> None:
    """A worker stands still for longer than its lease."""
    await _stopped(await scene.a_worker(lot), LEASE * 1.3)


async def freeze_redis(scene: Scene, lot: Random) -> None:
    """Redis holds its connections and says nothing."""
    await _stopped(scene.valkey, lot.uniform(0.2, 2.0))


async def kill_redis(scene: Scene, _lot: Random) -> None:
    """Redis is gone for a while, and comes back with what was on its disk."""
    os.kill(scene.valkey, signal.SIGKILL)
    await asyncio.sleep(1)


async def flush_redis(scene: Scene, _lot: Random) -> None:
    """Redis forgets everything."""
    store = redis.asyncio.Redis(unix_socket_path=str(scene.folder / "valkey.sock"))
    with suppress(redis.RedisError):
        await store.flushall()
    await store.aclose()


async def lock_database(scene: Scene, lot: Random) -> None:
    """Somebody else writes for longer than anybody should, though not too long."""
    await _locked(scene, lot.uniform(0.2, 1.5))


async def lock_long(scene: Scene, lot: Random) -> None:
    """Somebody else writes for longer than the gateway waits."""
    await _locked(scene, lot.uniform(2.5, 2 * LEASE))


async def kill_database(scene: Scene, lot: Random) -> None:
    """PostgreSQL crashes, and recovers."""
    assert scene.postgres
    await asyncio.to_thread(scene.postgres.kill)
    await asyncio.sleep(lot.uniform(0, LEASE))
    await asyncio.to_thread(scene.postgres.start)


async def freeze_database(scene: Scene, lot: Random) -> None:
    """PostgreSQL holds its connections and says nothing."""
    assert scene.postgres
    with scene.postgres.frozen():
        await asyncio.sleep(lot.choice((0.5, 1.5, 2.5, 2 * LEASE)))


async def unplug_302(scene: Scene, lot: Random) -> None:
    """302 refuses connections, and those that were open break."""
    await scene.wire.close()
    await asyncio.sleep(lot.uniform(0.1, 1.0))
    await scene.wire.open()


_ALWAYS: Final[dict[str, Injury]] = {
    "kill-gateway": kill_gateway,
    "sigterm": end_gateway,
    "sigstop": stop_worker,
    "redis-frozen": freeze_redis,
    "redis-killed": kill_redis,
    "redis-flushed": flush_redis,
    "302-unplugged": unplug_302,
}
_LONG: Final[dict[str, Injury]] = {"sigstop-over-lease": stop_long}
_OF_WORKERS: Final[dict[str, Injury]] = {"kill-worker": kill_worker, "sigterm-worker": end_worker}
_OF_DATABASE: Final[dict[str, dict[str, Injury]]] = {
    "sqlite": {"sql-locked": lock_database, "sql-locked-long": lock_long},
    "postgresql": {"sql-killed": kill_database, "sql-frozen": freeze_database},
}


def injuries(database: str, workers: int) -> dict[str, Injury]:
    """All that can be done to such a gateway, by name."""
    several = _OF_WORKERS if workers > 1 else {}
    return {**_ALWAYS, **_LONG, **several, **_OF_DATABASE[database]}


async def _stopped(pid: int, seconds: float) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


async def _locked(scene: Scene, seconds: float) -> None:
    other = sqlite3.connect(scene.database_file, timeout=10, isolation_level=None, check_same_thread=False)
    try:
        await asyncio.to_thread(other.execute, "BEGIN EXCLUSIVE")
        await asyncio.sleep(seconds)
        other.execute("ROLLBACK")
    finally:
        other.close()
