"""Our own Valkey: it starts where it is told, keeps what it was given, and comes back when it dies."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from redis import Redis

from gateway.adapters.embedded import EmbeddedError, EmbeddedValkey


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="valkey-") as made:  # short: a unix socket's path has its limits
        yield Path(made)


def pid_of(valkey: EmbeddedValkey) -> int:
    with Redis.from_url(valkey.url) as client:
        info = client.info("server")
    assert isinstance(info, dict)
    return int(info["process_id"])


def test_what_was_written_is_there_at_the_next_start(folder: Path) -> None:
    for number in range(3):
        valkey = EmbeddedValkey(folder, lambda: None)
        valkey.start()
        with Redis.from_url(valkey.url) as client:
            seen = client.incr("starts")
        valkey.stop()

        assert seen == number + 1


def test_it_listens_on_a_socket_of_its_owner_and_nowhere_else(folder: Path) -> None:
    valkey = EmbeddedValkey(folder / "made" / "by" / "it", lambda: None)
    valkey.start()
    try:
        with Redis.from_url(valkey.url) as client:
            port = client.config_get("port")
            kept = client.config_get("appendonly")
        socket = Path(valkey.url.removeprefix("unix://"))
        modes = [path.stat().st_mode & 0o777 for path in (socket, folder / "made" / "by" / "it")]
    finally:
        valkey.stop()

    assert (port, kept) == ({"port": "0"}, {"appendonly": "yes"})
    assert modes == [0o700, 0o700]


def test_a_path_too_long_for_a_socket_is_no_obstacle(folder: Path) -> None:
    deep = folder / ("d" * 100) / ("e" * 100)
    valkey = EmbeddedValkey(deep, lambda: None)
    valkey.start()
    socket = Path(valkey.url.removeprefix("unix://"))
    try:
        with Redis.from_url(valkey.url) as client:
            assert client.ping()
        assert len(os.fsencode(socket)) < 104
        assert (deep / "appendonlydir").is_dir()
    finally:
        valkey.stop()

    assert not socket.parent.exists()


def test_a_server_that_dies_is_started_again_with_all_it_had(folder: Path) -> None:
    restarted = threading.Event()
    valkey = EmbeddedValkey(folder, restarted.set)
    valkey.start()
    try:
        with Redis.from_url(valkey.url) as client:
            client.set("a", "b")
        first = pid_of(valkey)
        os.kill(first, signal.SIGKILL)

        assert restarted.wait(60)
        done = threading.Event()
        while not done.wait(0.02):
            if valkey._answers():
                done.set()
        with Redis.from_url(valkey.url) as client:
            assert client.get("a") == b"b"
        assert pid_of(valkey) != first
    finally:
        valkey.stop()


def test_stopped_it_stays_stopped(folder: Path) -> None:
    restarts: list[int] = []
    valkey = EmbeddedValkey(folder, lambda: restarts.append(1))
    valkey.start()

    valkey.stop()
    valkey.stop()

    assert (valkey._answers(), restarts) == (False, [])


def test_stopping_what_never_started_is_nothing(folder: Path) -> None:
    EmbeddedValkey(folder, lambda: None).stop()


def test_a_broken_file_stops_the_start_with_a_sentence(folder: Path) -> None:
    aof = folder / "appendonlydir"
    aof.mkdir()
    (aof / "appendonly.aof.manifest").write_text("nonsense\n")
    valkey = EmbeddedValkey(folder, lambda: None)

    with pytest.raises(EmbeddedError, match=r"valkey\.log.*GATEWAY_REDIS_URL"):
        valkey.start()
    valkey.stop()

    assert (folder / "valkey.log").read_text()
