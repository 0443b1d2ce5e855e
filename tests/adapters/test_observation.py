"""Metrics and log hear of everything, and whatever they do, no request fails of it."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from gateway.adapters.metrics import Metrics, forget_dead_workers
from gateway.adapters.observation import Observation
from gateway.core.keys import Caller
from gateway.core.outcome import Outcome
from tests.fakes import until

BOUNDS = ("0.005", "0.01", "300.0", "+Inf")
CALLER = Caller("key", "team")


class Broken:
    """Metrics and a log of which nothing works."""

    def request(self, outcome: Outcome) -> None:
        raise RuntimeError("broken")

    def upstream(self, model: str, code: str, seconds: float) -> None:
        raise RuntimeError("broken")

    def paid(self, caller: Caller, model: str, micro_usd: int) -> None:
        raise RuntimeError("broken")

    def flights(self, change: int) -> None:
        raise RuntimeError("broken")

    def upstream_key(self, key: str, healthy: bool) -> None:
        raise RuntimeError("broken")

    def limited(self, team: str, limit: str) -> None:
        raise RuntimeError("broken")

    def dependency_error(self, dependency: str) -> None:
        raise RuntimeError("broken")

    def fault(self, where: str, error: BaseException) -> None:
        raise RuntimeError("broken")


TOLD: dict[str, Callable[[Observation], None]] = {
    "request": lambda observation: observation.request(Outcome(request_id="req_1", method="GET")),
    "upstream": lambda observation: observation.upstream("m", "ok", 1.0),
    "paid": lambda observation: observation.paid(CALLER, "m", 1),
    "flights": lambda observation: observation.flights(1),
    "key": lambda observation: observation.upstream_key("k_1", True),
    "limited": lambda observation: observation.limited("team", "key_requests"),
    "dependency": lambda observation: observation.dependency_error("cache"),
    "fault": lambda observation: observation.fault("flight", ValueError()),
}


@pytest.mark.parametrize("tell", TOLD.values(), ids=TOLD)
def test_an_observer_that_breaks_is_told_on_standard_error_and_breaks_nothing(
    tell: Callable[[Observation], None], capsys: pytest.CaptureFixture[str]
) -> None:
    tell(Observation(Broken(), Broken()))

    assert "observing failed" in capsys.readouterr().err


def test_all_that_is_told_is_counted() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)

    metrics.upstream("m", "ok", 0.3)
    metrics.upstream("m", "upstream_timeout", 280.0)
    metrics.paid(CALLER, "m", 40_000)
    metrics.flights(2)
    metrics.flights(-1)
    metrics.limited("team", "key_requests")
    metrics.dependency_error("cache")
    metrics.upstream_key("k_1", True)
    metrics.upstream_key("k_2", False)
    metrics.count()

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"gateway_{name}", labels)

    assert value("upstream_requests_total", model="m", outcome="ok") == 1
    assert value("upstream_requests_total", model="m", outcome="upstream_timeout") == 1
    assert value("upstream_seconds_sum", model="m") == 280.3
    assert value("upstream_seconds_bucket", model="m", le="0.5") == 1
    assert value("cost_usd_total", model="m", team="team") == 0.04
    assert value("flights_in_progress") == 1
    assert [value("upstream_key_healthy", key=key) for key in ("k_1", "k_2")] == [1, 0]
    assert value("limited_total", team="team", limit="key_requests") == 1
    assert value("dependency_errors_total", dependency="cache") == 1
    assert b"gateway_cost_usd_total" in metrics.scrape()


HIT = Outcome(
    "req_1",
    "POST",
    endpoint="generations",
    code="ok",
    team="team",
    model="m",
    ms=10.0,
    cache="hit",
    images=2,
    states=("hit", "joined"),
    micro_usd=40_000,
    adjusted=("size",),
)


def test_requests_are_counted_together_and_a_scrape_sees_all_of_them() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for ms in (0.0, 5.0, 5.1, 1_000_000.0):
        metrics.request(msgspec.structs.replace(HIT, ms=ms))
    metrics.request(Outcome("req_2", "GET", endpoint="livez", code="ok", ms=1.0))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"gateway_{name}", labels)

    assert value("requests_total", endpoint="livez", model="", team="", code="ok") is None
    metrics.scrape()
    metrics.scrape()

    buckets = [value("request_seconds_bucket", endpoint="generations", cache="hit", le=le) for le in BOUNDS]
    assert buckets == [2, 3, 3, 4]
    assert value("request_seconds_sum", endpoint="generations", cache="hit") == pytest.approx(1000.0101)
    assert value("requests_total", endpoint="generations", model="m", team="team", code="ok") == 4
    assert value("requests_total", endpoint="livez", model="", team="", code="ok") == 1
    assert value("adjustments_total", model="m", field="size") == 4
    assert [value("images_total", model="m", team="team", cache=word) for word in ("hit", "joined")] == [4, 4]
    assert (value("flights_joined_total"), value("saved_usd_total", model="m", team="team")) == (4, 0.32)


async def test_requests_are_counted_without_a_scrape_too_and_at_the_end() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)

    def counted() -> float | None:
        labels = {"endpoint": "generations", "model": "m", "team": "team", "code": "ok"}
        return registry.get_sample_value("gateway_requests_total", labels)

    counting = asyncio.ensure_future(metrics.keep_counting())
    metrics.request(HIT)
    await until(lambda: counted() == 1)
    metrics.request(HIT)
    counting.cancel()
    await asyncio.wait([counting])

    assert counted() == 2


def test_what_was_under_way_in_a_dead_worker_is_forgotten(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    kept = [f"gauge_livesum_{os.getpid()}.db", f"counter_{dead.pid}.db", f"histogram_{dead.pid}.db", "other"]
    for name in (*kept, f"gauge_livesum_{dead.pid}.db"):
        (tmp_path / name).touch()

    forget_dead_workers(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
