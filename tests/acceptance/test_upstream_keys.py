"""Several keys of 302 behind real workers: one that dies is noticed by all, and no caller notices."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from tests.acceptance.programs import PATIENCE, Served, Simulator, serving, settings, simulating, unique

ONE, TWO = "sk-canary-one", "sk-canary-two"
PATH = "/v1/images/generations"


def public(key: str) -> str:
    return f"k_{sha256(key.encode()).hexdigest()[:8]}"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Simulator]:
    with simulating("--key", ONE, "--key", TWO) as running:
        yield running


@pytest.fixture(params=["sync", "task"])
def workers(request: pytest.FixtureRequest, upstream: Simulator, tmp_path: Path) -> Iterator[Served]:
    env = settings(upstream.url, tmp_path, upstream_keys=f"{ONE},{TWO}", upstream_mode=request.param)
    with serving(env, "--workers", "2") as running:
        yield running


def draw(gateway: Served, prompt: str) -> httpx.Response:
    with gateway.client() as client:  # a connection of its own, so that either worker may get it
        return client.post(PATH, json={"model": "dall-e-3", "prompt": prompt})


def healthy(gateway: Served) -> dict[str, float]:
    with gateway.client() as client:
        lines = client.get("/metrics").text.splitlines()
    found = [line.split('"') for line in lines if line.startswith("gateway_upstream_key_healthy{")]
    return {parts[1]: float(parts[2].removeprefix("} ")) for parts in found}


def test_a_key_that_dies_is_noticed_by_every_worker_and_by_no_caller(workers: Served, upstream: Simulator) -> None:
    assert healthy(workers) == {public(ONE): 1, public(TWO): 1}
    prompts = [unique("[[fail:unauthorized@-two]]") for _ in range(24)]

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda prompt: draw(workers, prompt), prompts))

    assert [answer.status_code for answer in answers] == [200] * 24
    calls = [call for prompt in prompts for call in upstream.calls(prompt)]
    assert [call["outcome"] for call in calls].count("succeeded") == 24
    assert len([call for call in calls if call["status"] == 401]) <= 16  # what was on its way when the key died
    deadline = time.monotonic() + PATIENCE
    while healthy(workers) != {public(ONE): 1, public(TWO): 0}:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with workers.client() as client:
        shown = client.get("/metrics").text + "".join(answer.text for answer in answers)
    workers.program.out.wait_for(f"{public(TWO)}: ok -> refused")
    assert "canary" not in shown + "".join(workers.program.out.all + workers.program.err.all)
    assert draw(workers, unique()).status_code == 200
