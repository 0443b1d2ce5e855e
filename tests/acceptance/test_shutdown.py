"""What is paid for is finished and kept: at a friendly end, and as far as it can be at an unfriendly one."""

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.acceptance.programs import (
    KEY,
    PATIENCE,
    Program,
    Served,
    Simulator,
    hang_up_once,
    serving,
    settings,
    unique,
    wait_until_ready,
)

PATH = "/v1/images/generations"
linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's word for a dead parent is Linux's")


def start(env: dict[str, str], *options: str) -> Served:
    """A gateway that the test itself ends."""
    program = Program("serve", "--port", "0", *options, env=env)
    url = program.err.wait_for(r"listening on (http://\S+)")[1]
    wait_until_ready(url)
    return Served(url, program)


def children(pid: int) -> list[int]:
    """The processes started by a process."""
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def is_gone(pid: int) -> bool:
    """Whether a process is no more, or only its record is left."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(condition: Callable[[], bool], within: float = PATIENCE) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def draw(url: str, prompt: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx.post(url + PATH, json={"prompt": prompt}, headers=headers, timeout=PATIENCE, trust_env=False)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_while_it_drains_it_is_not_ready_serves_what_it_has_and_pays_for_nothing_new(
    simulator: Simulator, tmp_path: Path, workers: str
) -> None:
    kept, slow = unique(""), unique("[[delay:3]]")
    gateway = start(settings(simulator.url, tmp_path), "--workers", workers)
    draw(gateway.url, kept)
    answers: list[httpx.Response] = []
    caller = threading.Thread(target=lambda: answers.append(draw(gateway.url, slow)))
    caller.start()
    simulator.wait_for_call(slow)
    codes: list[int] = []
    ending = threading.Thread(target=lambda: codes.append(gateway.program.end()))
    ending.start()

    # Of two workers the one without a flight may be gone already: then the other one answers.
    wait_until(lambda: httpx.get(f"{gateway.url}/readyz", trust_env=False).status_code == 503)
    hit, new = draw(gateway.url, kept), draw(gateway.url, unique(""))
    caller.join(PATIENCE)
    ending.join(PATIENCE)

    assert (hit.status_code, hit.headers["x-gateway-cache"]) == (200, "hit")
    assert (new.status_code, new.json()["error"]["code"], new.headers["x-should-retry"]) == (503, "draining", "true")
    assert [answer.status_code for answer in answers] == [200]
    assert codes == [0]


def test_every_worker_is_told_at_once(simulator: Simulator, tmp_path: Path) -> None:
    slow = unique("[[delay:3]]")
    gateway = start(settings(simulator.url, tmp_path, drain_delay="3"), "--workers", "2")
    caller = threading.Thread(target=lambda: draw(gateway.url, slow))
    caller.start()
    simulator.wait_for_call(slow)

    codes: list[int] = []
    ending = threading.Thread(target=lambda: codes.append(gateway.program.end()))
    ending.start()
    time.sleep(0.1)
    ready = {httpx.get(f"{gateway.url}/readyz", trust_env=False).status_code for _ in range(12)}
    caller.join()
    ending.join()

    assert (ready, codes) == ({503}, [0])


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_running_generation_is_finished_answered_and_kept(
    simulator: Simulator, tmp_path: Path, workers: str, signal_: int
) -> None:
    env = settings(simulator.url, tmp_path)
    prompt = unique("[[delay:1]]")
    gateway = start(env, "--workers", workers)
    answers: list[httpx.Response] = []
    caller = threading.Thread(target=lambda: answers.append(draw(gateway.url, prompt)))
    caller.start()
    simulator.wait_for_call(prompt)

    code = gateway.program.end(signal_)
    caller.join()

    assert (code, [answer.status_code for answer in answers]) == (0, [200])
    with serving(env) as again:
        after = draw(again.url, prompt)
    assert after.headers["x-gateway-cache"] == "hit"
    assert after.json()["data"] == answers[0].json()["data"]
    assert len(simulator.calls(prompt)) == 1


def test_a_generation_whose_caller_is_gone_is_finished_and_kept(simulator: Simulator, tmp_path: Path) -> None:
    env = settings(simulator.url, tmp_path)
    prompt = unique("[[delay:1]]")
    gateway = start(env)
    hang_up_once(gateway, {"prompt": prompt}, lambda: simulator.wait_for_call(prompt))

    assert gateway.program.end() == 0

    with serving(env) as again:
        assert draw(again.url, prompt).headers["x-gateway-cache"] == "hit"
    assert len(simulator.calls(prompt)) == 1


def test_the_log_is_written_to_its_end(simulator: Simulator, tmp_path: Path) -> None:
    gateway = start(settings(simulator.url, tmp_path))
    request_ids = [draw(gateway.url, unique()).headers["x-request-id"] for _ in range(5)]

    gateway.program.end()

    logged = [line.get("request_id") for line in gateway.program.log]
    assert [request_id for request_id in request_ids if logged.count(request_id) != 1] == []
    assert gateway.program.log[-1]["event"] == "stopped"
    assert "Traceback" not in "\n".join(gateway.program.err.all)


@linux
@pytest.mark.parametrize("workers", ["1", "2"])
def test_nothing_is_left_running(simulator: Simulator, tmp_path: Path, workers: str) -> None:
    gateway = start(settings(simulator.url, tmp_path), "--workers", workers)
    started = children(gateway.program.process.pid)

    gateway.program.end()

    assert len(started) >= int(workers)
    # The interpreter's own helper ends when it notices that its parent has.
    wait_until(lambda: all(is_gone(pid) for pid in started))
    assert not (tmp_path / "valkey.sock").exists()


@linux
def test_killed_it_takes_its_valkey_along_and_the_pictures_are_there_at_the_next_start(
    simulator: Simulator, tmp_path: Path
) -> None:
    env = settings(simulator.url, tmp_path)
    prompt = unique()
    gateway = start(env)
    url = draw(gateway.url, prompt).json()["data"][0]["url"]
    # An append-only file is written to disk once a second; what is in the kernel's hands survives the process.
    started = children(gateway.program.process.pid)

    assert gateway.program.end(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: all(is_gone(pid) for pid in started))

    with serving(env) as again:
        after = draw(again.url, prompt)
    assert (after.headers["x-gateway-cache"], after.json()["data"][0]["url"]) == ("hit", url)
    assert len(simulator.calls(prompt)) == 1


@linux
def test_killed_with_several_workers_none_of_them_goes_on(simulator: Simulator, tmp_path: Path) -> None:
    gateway = start(settings(simulator.url, tmp_path), "--workers", "2")
    started = children(gateway.program.process.pid)

    gateway.program.process.kill()
    gateway.program.process.wait()

    try:
        wait_until(lambda: all(is_gone(pid) for pid in started), within=15)
    finally:
        for pid in (pid for pid in started if not is_gone(pid)):
            os.kill(pid, signal.SIGKILL)
        gateway.program.end()


@linux
def test_a_valkey_that_dies_is_started_again_and_no_request_fails(simulator: Simulator, tmp_path: Path) -> None:
    prompt = unique()
    with serving(settings(simulator.url, tmp_path)) as gateway:
        draw(gateway.url, prompt)
        (valkey,) = children(gateway.program.process.pid)
        os.kill(valkey, signal.SIGKILL)

        answers = [draw(gateway.url, unique()) for _ in range(5)]
        gateway.program.err.wait_for("Valkey ended; starting it again")
        wait_until(lambda: httpx.get(f"{gateway.url}/readyz", trust_env=False).json()["status"] == "ready")

        assert [answer.status_code for answer in answers] == [200] * 5
        assert draw(gateway.url, prompt).headers["x-gateway-cache"] == "hit"


def test_a_second_gateway_on_the_same_folder_does_not_start(simulator: Simulator, tmp_path: Path) -> None:
    env = settings(simulator.url, tmp_path)
    with serving(env):
        second = Program("serve", "--port", "0", env=env)

        assert second.process.wait(PATIENCE) == 2

        second.end()
        assert "GATEWAY_DATA_DIR" in "\n".join(second.err.all)


def test_a_busy_port_is_named(gateway: Served, simulator: Simulator, tmp_path: Path) -> None:
    port = gateway.url.rpartition(":")[2]
    second = Program("serve", "--port", port, env=settings(simulator.url, tmp_path))

    assert second.process.wait(PATIENCE) == 2

    second.end()
    assert re.search(rf"cannot listen on 127\.0\.0\.1:{port}.*--port", "\n".join(second.err.all))
