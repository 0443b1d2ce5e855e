"""Where the faults happen: a simulator, the wire to it, a gateway that can be killed, and its database."""

import asyncio
import os
import re
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Final

import httpx
from sqlalchemy import Engine, insert, update

from gateway.adapters.engines import open_engine
from gateway.adapters.migrations import upgrade
from gateway.adapters.tables import KEYS, REVISION, TEAMS
from gateway.core.keys import KEY_LABEL, mint
from gateway.core.secrets import derive, digest_of
from tests.acceptance.programs import PATIENCE, Program, Simulator, simulating, wait_until_ready
from tests.faults.proxy import Wire
from tests.ports import free_port
from tests.postgres import Postgres

BALANCE: Final = 1_000_000
# What must never be seen outside: parts of keys and of prompts.
CANARY: Final = "canary7f3a"
UPSTREAM_KEY: Final = f"sk-{CANARY}-of-302"
SECRET: Final = f"{CANARY}-0123456789-0123456789-0123456789"
LEASE: Final = 3.0
_MICRO: Final = 1_000_000


@dataclass(frozen=True)
class Setup:
    """How a gateway is set up; `lease` and the like in seconds."""

    workers: int = 1
    mode: str = "sync"
    database: str = "sqlite"
    upstream_timeout: float = 3.0
    delay: float = 0.2
    settings: dict[str, str] = field(default_factory=dict)


@dataclass
class Scene:
    """What is running. The gateway is started and ended by whoever plays."""

    setup: Setup
    simulator: Simulator
    wire: Wire
    folder: Path
    database_url: str
    engine: Engine
    postgres: Postgres | None = None
    key: str = field(default_factory=lambda: mint(Random(302).getrandbits(192)))
    port: int = 0
    said: list[str] = field(default_factory=list)
    """All that gateways which are no more have written."""
    done: list[str] = field(default_factory=list)
    """What was done to it, and when."""
    program: Program | None = None
    ending: set[int] = field(default_factory=set)
    """Workers that were told to end."""

    @property
    def url(self) -> str:
        """Where the gateway is."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start the gateway, on the port that it had."""
        self.port = self.port or free_port()
        workers = str(self.setup.workers)
        for _ in range(3):
            self.program = Program("serve", "--port", str(self.port), "--workers", workers, env=self._environment())
            try:
                await asyncio.to_thread(self.program.err.wait_for, "listening on (.*)")
            except AssertionError:  # who held the port, or the folder, is not quite gone
                await self.collect()
                continue
            await asyncio.to_thread(wait_until_ready, self.url)
            return
        raise AssertionError(self.said[-20:])

    async def kill(self) -> None:
        """Kill the gateway with all its workers, and wait for its Valkey to follow."""
        assert self.program
        os.killpg(self.program.process.pid, signal.SIGKILL)
        await self.collect()

    async def terminate(self) -> int:
        """Ask the gateway to end; its exit code."""
        assert self.program
        self.program.process.send_signal(signal.SIGTERM)
        return await self.collect()

    async def collect(self) -> int:
        """Wait for the end of a gateway, and keep what it said."""
        assert self.program
        program, self.program = self.program, None
        code = await asyncio.to_thread(program.end, signal.SIGCONT)
        self.said += [*program.out.all, *program.err.all]
        return code

    @property
    def workers(self) -> list[int]:
        """The processes that serve, the oldest first."""
        if self.program is None:
            return []
        if self.setup.workers == 1:
            return [self.program.process.pid]
        # The line of a worker that was killed may be torn.
        started = [re.search(r'"event":"started","pid":([0-9]+)', line) for line in [*self.program.out.all]]
        return [pid for pid in (int(found[1]) for found in started if found) if _lives(pid)]

    async def a_worker(self, lot: Random) -> int:
        """One that serves and was not told to end, by lot, as soon as there is one."""
        while not (workers := [pid for pid in self.workers if pid not in self.ending]):  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(0.05)
        return lot.choice(workers)

    @property
    def valkey(self) -> int:
        """The embedded Valkey."""
        assert self.program
        found = [pid for pid in _children(self.program.process.pid) if b"valkey" in _title(pid)]
        return found[0]

    @property
    def database_file(self) -> Path:
        """The SQLite file."""
        return self.folder / "gateway.db"

    async def charged(self) -> int:
        """What the simulator has charged, in micro-USD."""
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
            headers = {"authorization": f"Bearer {UPSTREAM_KEY}"}
            answer = (await client.get(f"{self.simulator.url}/dashboard/balance", headers=headers)).raise_for_status()
        return BALANCE * _MICRO - int(Decimal(answer.json()["data"]["balance"]) * _MICRO)

    def add_key(self, name: str, secret: str, **terms: int) -> None:
        """Write a team and its key into the database."""
        digest = digest_of(derive(SECRET, KEY_LABEL), secret.encode())
        with self.engine.begin() as connection:
            revision = connection.execute(
                update(REVISION).values(newest=REVISION.c.newest + 1).returning(REVISION.c.newest)
            ).scalar_one()
            connection.execute(insert(TEAMS).values(name=name, created=0, revision=revision, **terms))
            row = {"id": f"key_{name}", "team": name, "name": name, "digest": digest, "last_four": "0000"}
            connection.execute(insert(KEYS).values(**row, created=0, revision=revision, **terms))

    def _environment(self) -> dict[str, str]:
        settings = {
            "upstream_url": f"http://127.0.0.1:{self.wire.port}",
            "upstream_keys": UPSTREAM_KEY,
            "upstream_mode": self.setup.mode,
            "upstream_timeout": str(self.setup.upstream_timeout),
            "data_dir": str(self.folder),
            "secret": SECRET,
            "unknown_hold": "86400",
            "worker_lease": str(LEASE),
            **({"database_url": self.database_url} if self.postgres else {}),
            **self.setup.settings,
        }
        return {f"GATEWAY_{name.upper()}": value for name, value in settings.items()}


@asynccontextmanager
async def staged(setup: Setup, lot: Random, **terms: int) -> AsyncIterator[Scene]:
    """A scene with a gateway that runs; `terms` are the limits of team and key."""
    options = "--delay", str(setup.delay), "--jitter", str(setup.delay / 2), "--key", UPSTREAM_KEY
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, simulating(*options) as simulator:
        postgres = await asyncio.to_thread(Postgres) if setup.database == "postgresql" else None
        url = postgres.url(postgres.create()) if postgres else f"sqlite:///{folder}/gateway.db"
        await asyncio.to_thread(upgrade, url)
        wire = Wire(simulator.url, lot)
        await wire.open()
        scene = Scene(setup, simulator, wire, Path(folder), url, open_engine(url, writes=True, patience_ms=10_000))
        scene.postgres = postgres
        try:
            scene.add_key("faults", scene.key, **terms)
            await scene.start()
            yield scene
        finally:
            if scene.program is not None:
                for pid in scene.workers:
                    os.kill(pid, signal.SIGCONT)
                await scene.kill()
            await wire.close()
            scene.engine.dispose()
            if postgres is not None:
                await asyncio.to_thread(postgres.stop)


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return []


def _title(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
