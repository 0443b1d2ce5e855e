"""Several workers are one gateway: they share the work, the numbers and the pictures."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.programs import Served, Simulator, serving, settings, unique

PATH = "/v1/images/generations"


@pytest.fixture(scope="module")
def fleet(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(settings(simulator.url, tmp_path_factory.mktemp("data")), "--workers", "2") as running:
        for worker in range(2):
            running.program.out.wait_for('"event":"started"', after=worker)
        yield running


def count(gateway: Served, sample: str, **labels: str) -> float:
    """The sum of all samples of this name that have these labels."""
    text = httpx.get(f"{gateway.url}/metrics", trust_env=False).raise_for_status().text
    return sum(
        found.value
        for family in text_string_to_metric_families(text)
        for found in family.samples
        if found.name == sample and labels.items() <= found.labels.items()
    )


def test_a_request_is_one_line_and_every_number_is_the_sum_of_all_workers(fleet: Served, simulator: Simulator) -> None:
    prompts = [unique() for _ in range(20)]
    ids = []

    for prompt in prompts * 2:
        with fleet.client() as client:  # a connection of its own, so that it may be either worker's
            answer = client.post(PATH, json={"model": "luma-t2i", "prompt": prompt, "size": "1792x1024"})
        assert answer.status_code == 200
        ids.append(answer.headers["x-request-id"])

    assert sum(len(simulator.calls(prompt)) for prompt in prompts) == 20
    for request_id in ids:
        assert len(fleet.program.log_of(request_id)) == 1
    assert len({line["pid"] for line in fleet.program.log if line["event"] == "started"}) == 2
    labels = {"model": "luma-t2i", "team": "first"}
    assert count(fleet, "gateway_requests_total", endpoint="generations", code="ok", **labels) == 40
    assert count(fleet, "gateway_images_total", cache="miss", **labels) == 20
    assert count(fleet, "gateway_images_total", cache="hit", **labels) == 20
    assert count(fleet, "gateway_upstream_requests_total", model="luma-t2i", outcome="ok") == 20
    assert count(fleet, "gateway_cost_usd_total", **labels) == pytest.approx(20 * 0.05)
    assert count(fleet, "gateway_saved_usd_total", **labels) == pytest.approx(20 * 0.05)
    assert count(fleet, "gateway_adjustments_total", model="luma-t2i", field="size") == 40
    assert count(fleet, "gateway_request_seconds_count", endpoint="generations", cache="hit") == 20
    assert count(fleet, "gateway_flights_in_progress") == 0


def test_the_numbers_are_the_same_whichever_worker_is_asked(fleet: Served) -> None:
    seen = {count(fleet, "gateway_images_total") for _ in range(10)}

    assert len(seen) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="who holds a connection is read from /proc")
def test_both_workers_serve(fleet: Served) -> None:
    workers = [line["pid"] for line in fleet.program.log if line["event"] == "started"]
    before = [sockets(pid) for pid in workers]
    with ExitStack() as stack:
        clients = [stack.enter_context(fleet.client()) for _ in range(64)]
        answers = [client.get("/livez").status_code for client in clients]
        taken = [sockets(pid) - had for pid, had in zip(workers, before, strict=True)]

    assert answers == [200] * 64
    assert len(taken) == 2
    assert min(taken) > 0  # the kernel deals them out: that one gets none of 64 is a chance of 1 in 2^63


def sockets(pid: int) -> int:
    """How many sockets a process holds."""
    return sum(str(link.readlink()).startswith("socket:") for link in Path(f"/proc/{pid}/fd").iterdir())
