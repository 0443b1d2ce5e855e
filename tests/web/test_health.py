"""Health, and the numbers: names, labels and values."""

from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.programs import Simulator, unique
from tests.web.served import PATH, Web, served, settings_for

# Design of the metrics: name → labels.
METRICS = {
    "gateway_requests": {"endpoint", "model", "team", "code"},
    "gateway_request_seconds": {"endpoint", "cache"},
    "gateway_images": {"model", "team", "cache"},
    "gateway_adjustments": {"model", "field"},
    "gateway_upstream_requests": {"model", "outcome"},
    "gateway_upstream_seconds": {"model"},
    "gateway_upstream_key_healthy": {"key"},
    "gateway_limited": {"team", "limit"},
    "gateway_flights_in_progress": set(),
    "gateway_flights_joined": set(),
    "gateway_config_last_reload_successful": set(),
    "gateway_cost_usd": {"model", "team"},
    "gateway_saved_usd": {"model", "team"},
    "gateway_dependency_errors": {"dependency"},
}


def families(web: Web) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(web.client.get("/metrics").text)}


def value(web: Web, sample: str, **labels: str) -> float:
    return sum(
        found.value
        for family in families(web).values()
        for found in family.samples
        if found.name == sample and labels.items() <= found.labels.items()
    )


def test_a_live_and_ready_gateway_says_so(web: Web) -> None:
    assert web.client.get("/livez").json() == {"status": "ok"}
    assert web.client.get("/readyz").json() == {"status": "ready", "checks": {"redis": "ok", "database": "ok"}}


def test_without_redis_it_is_degraded_and_still_200(simulator: Simulator, tmp_path: Path) -> None:
    with served(settings_for(simulator.url, f"unix://{tmp_path}/nobody"), tmp_path / "lines") as web:
        answers = [web.client.get("/readyz") for _ in range(3)]
        drawn = web.ask(prompt=unique())
        errors = value(web, "gateway_dependency_errors_total", dependency="cache")

    assert [answer.status_code for answer in answers] == [200] * 3
    assert answers[0].json() == {"status": "degraded", "checks": {"redis": "unavailable", "database": "ok"}}
    assert (drawn.status_code, drawn.headers["x-gateway-cache"]) == (200, "miss")
    assert drawn.headers["cache-status"] == "gateway; fwd=miss"
    assert errors >= 1


def test_the_metrics_are_those_of_the_design(web: Web) -> None:
    prompt = unique()
    web.ask(prompt=prompt, quality="hd")
    web.ask(prompt=prompt)
    web.ask(prompt=unique("[[fail:balance]]"))

    seen = families(web)

    assert METRICS.keys() - {"gateway_dependency_errors", "gateway_limited"} <= seen.keys()
    for name, labels in METRICS.items():
        for sample in seen[name].samples if name in seen else []:
            assert set(sample.labels) - {"le"} == labels, name
    assert {name for name in seen if name.startswith("gateway_")} - METRICS.keys() <= {
        f"{name}_created" for name in METRICS
    }


def test_the_numbers_are_right(simulator: Simulator, redis_url: str, tmp_path: Path) -> None:
    prompt = unique()
    with served(settings_for(simulator.url, redis_url), tmp_path / "lines") as web:
        for _ in range(3):
            web.ask(prompt=prompt, model="stable-sd3", n=2, size="1792x1024", quality="hd")
        web.ask(prompt=unique("[[fail:balance]]"), model="stable-sd3")
        web.ask(prompt="", model="stable-sd3")
        web.client.post(PATH, content=b"{", headers={"authorization": "Bearer wrong"})
        web.client.get("/nowhere")
        count = {
            "ok": value(web, "gateway_requests_total", endpoint="generations", team="web", code="ok"),
            "balance": value(web, "gateway_requests_total", model="stable-sd3-t2i", code="upstream_balance"),
            "missing": value(web, "gateway_requests_total", model="", code="missing_parameter"),
            "key": value(web, "gateway_requests_total", team="", code="invalid_api_key"),
            "nowhere": value(web, "gateway_requests_total", code="unknown_url"),
            "misses": value(web, "gateway_images_total", model="stable-sd3-t2i", team="web", cache="miss"),
            "hits": value(web, "gateway_images_total", model="stable-sd3-t2i", team="web", cache="hit"),
            "calls": value(web, "gateway_upstream_requests_total", outcome="ok"),
            "failed": value(web, "gateway_upstream_requests_total", outcome="upstream_balance"),
            "timed": value(web, "gateway_upstream_seconds_count", model="stable-sd3-t2i"),
            "sizes": value(web, "gateway_adjustments_total", model="stable-sd3-t2i", field="size"),
            "qualities": value(web, "gateway_adjustments_total", model="stable-sd3-t2i", field="quality"),
            "cost": round(value(web, "gateway_cost_usd_total", model="stable-sd3-t2i", team="web"), 6),
            "saved": round(value(web, "gateway_saved_usd_total", model="stable-sd3-t2i", team="web"), 6),
            "hit-requests": value(web, "gateway_request_seconds_count", endpoint="generations", cache="hit"),
            "in-flight": value(web, "gateway_flights_in_progress"),
        }

    assert count == {
        "ok": 3,
        "balance": 1,
        "missing": 1,
        "key": 1,
        "nowhere": 1,
        "misses": 2,
        "hits": 4,
        "calls": 2,
        "failed": 1,
        "timed": 3,
        "sizes": 3,
        "qualities": 3,
        "cost": 0.2,
        "saved": 0.4,
        "hit-requests": 2,
        "in-flight": 0,
    }


@pytest.mark.parametrize("model", ["\u202e", "no-such", "x" * 200, 'a",b="c'])
def test_what_callers_write_never_becomes_a_label(web: Web, model: str) -> None:
    web.ask(prompt="x", model=model)
    web.client.get(f"/v1/models/{model}")
    web.client.request("BREW", f"/{model}")

    labels = [value for family in families(web).values() for found in family.samples for value in found.labels.values()]

    assert model not in labels
