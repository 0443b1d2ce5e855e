"""What 302 would refuse never leaves the gateway, and what leaves is what `/v1/images/plan` announced.

All models × thirty ways of asking × three policies, against a simulator that takes nothing its page does not allow.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from gateway.adapters.transport import pooled
from tests.acceptance.pictures import DATA_URI, MODELS
from tests.acceptance.programs import KEY, PATIENCE, Served, Simulator, serving, settings, simulating

POLICIES: Final = ("documented", "nearest", "strict")
WAYS: Final[list[dict[str, Any]]] = [
    {},
    {"size": None, "n": None, "quality": None},
    {"size": "auto"},
    {"size": "256x256"},
    {"size": "512x512"},
    {"size": "1024x1024"},
    {"size": "1536x1024"},
    {"size": "1024X1536"},
    {"size": "1792*1024"},
    {"size": "1024x1792"},
    {"size": "1344x768"},
    {"size": "7x4000"},
    {"size": "4096x1"},
    {"size": "16:9"},
    {"size": ""},
    {"aspect_ratio": "1:1"},
    {"aspect_ratio": "9:16"},
    {"aspect_ratio": "10:16"},
    {"aspect_ratio": "7:3"},
    {"aspect_ratio": "99999:1"},
    {"aspect_ratio": "768x768"},
    {"aspect_ratio": "4:5", "size": "1024x1024"},
    {"width": 300, "height": 700},
    {"width": 1000, "height": 3000},
    {"width": 0, "height": 0, "aspect_ratio": "", "size": "1024x1024"},
    {"width": 720, "height": 1440, "aspect_ratio": "1:2", "size": "auto"},
    {"n": 3, "quality": "hd", "style": "vivid", "background": "transparent", "user": "u-1", "moderation": "low"},
    {"seed": 7, "negative_prompt": "rain", "output_format": "webp", "size": "1024x768"},
    {"image": DATA_URI, "size": "1024x1024"},
    {"image": ["https://example.com/a.png"], "mask_image": DATA_URI, "loras": [{"path": "x"}], "unknown": {"a": [1]}},
]


@pytest.fixture(scope="module")
def strict() -> Iterator[Simulator]:
    with simulating() as running:
        yield running


@pytest.fixture(scope="module")
def planned(strict: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(settings(strict.url, tmp_path_factory.mktemp("data"))) as running:
        yield running


async def _both(client: httpx.AsyncClient, body: dict[str, Any], policy: str) -> tuple[httpx.Response, httpx.Response]:
    headers = {"x-gateway-coercion": policy}
    announced = await client.post("/v1/images/plan", json=body, headers=headers)
    return announced, await client.post("/v1/images/generations", json=body, headers=headers)


def _bodies(model: str) -> list[tuple[str, dict[str, Any]]]:
    source = {"image": DATA_URI} if MODELS[model]["image"] == "required" else {}
    return [
        (policy, {"model": model, "prompt": f"{model} {policy} {number}", **source, **way})
        for policy in POLICIES
        for number, way in enumerate(WAYS)
    ]


async def _ask(client: httpx.AsyncClient, bodies: list[tuple[str, dict[str, Any]]]) -> tuple[list[Any], list[Any]]:
    """Ask for all; what was announced, and every disagreement of plan and generation."""
    answers = await asyncio.gather(*(_both(client, body, policy) for policy, body in bodies))
    announced, disagreements = [], []
    for (policy, body), (plan, generation) in zip(bodies, answers, strict=True):
        if plan.status_code == 200:
            announced += plan.json()["payloads"]
        refused_alike = plan.status_code == generation.status_code == 400 and plan.json() == generation.json()
        if not refused_alike and (plan.status_code, generation.status_code) != (200, 200):
            disagreements.append((policy, body, plan.text, generation.text))
    return announced, disagreements


def _order(payload: dict[str, Any]) -> str:
    return str(payload["prompt"])


async def test_302_takes_every_payload_and_sees_exactly_the_announced_ones(strict: Simulator, planned: Served) -> None:
    async with httpx.AsyncClient(
        transport=pooled(), base_url=planned.url, headers={"authorization": f"Bearer {KEY}"}, timeout=PATIENCE
    ) as client:
        for model in MODELS:
            announced, disagreements = await _ask(client, _bodies(model))
            calls = strict.calls()
            strict.forget()

            assert disagreements == []
            assert [call for call in calls if call["outcome"] != "succeeded"] == []
            seen = sorted((call["payload"] for call in calls), key=_order)
            assert seen == sorted(announced, key=_order)
            assert len(seen) > 60


def test_there_are_thirty_ways() -> None:
    assert len(WAYS) == 30
