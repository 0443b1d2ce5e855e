"""A gateway that is asked the same again and again, byte for byte, and what it tells of that."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from tests.acceptance.programs import PATIENCE, Served, unique
from tests.acceptance.wire import Seen, exchange

PATH = b"/v1/images/generations"
MODEL = "luma-t2i"


@dataclass(frozen=True)
class Scene:
    """A gateway with an operator, its file of settings, and its Redis."""

    served: Served
    admin: httpx.Client
    config: Path
    redis: Redis

    def key(self, **terms: object) -> tuple[str, dict[str, Any]]:
        """A new team, and a key of it."""
        team = unique("team").replace(" ", "-")
        assert self.admin.post("/admin/v1/teams", json={"name": team}).status_code == 201
        made = self.admin.post(f"/admin/v1/teams/{team}/keys", json={"name": "web", **terms})
        assert made.status_code == 201, made.text
        return team, made.json()

    def change(self, key: dict[str, Any], **terms: object) -> None:
        self.admin.patch(f"/admin/v1/keys/{key['id']}", json=terms).raise_for_status()

    def reload(self, text: str) -> None:
        self.config.write_text(text)
        self.admin.post("/admin/v1/reload").raise_for_status()

    def ask(self, request: bytes) -> Seen:
        """Send bytes over a connection of their own."""
        return exchange(self.served, [request])

    def usage(self, team: str) -> dict[str, Any]:
        rows = self.admin.get("/admin/v1/usage", params={"by": "team", "team": team}).json()["data"]
        return {name: rows[0][name] for name in ("requests", "cached", "images", "failed", "cost")} if rows else {}

    def count(self, sample: str, **labels: str) -> float:
        return sum(
            found.value
            for family in text_string_to_metric_families(self.admin.get("/metrics").text)
            for found in family.samples
            if found.name == sample and labels.items() <= found.labels.items()
        )


def request_for(secret: str, prompt: str, *headers: bytes, path: bytes = PATH, **fields: object) -> bytes:
    """A request's bytes."""
    body = orjson.dumps({"model": MODEL, "prompt": prompt, **fields})
    lines = [
        *(b"POST %b HTTP/1.1" % path, b"Host: gateway", b"Authorization: Bearer " + secret.encode()),
        *(b"Content-Type: application/json", b"Content-Length: %d" % len(body), *headers),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def state(seen: Seen) -> str:
    assert seen.status == 200, seen
    return seen.headers["x-gateway-cache"]


def told(seen: Seen) -> dict[str, Any]:
    """The body, without when it was made."""
    body: dict[str, Any] = orjson.loads(seen.body)
    body.pop("created", None)
    return body


def is_told(scene: Scene, request: bytes, status: int) -> bool:
    return scene.ask(request).status == status


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def known(scene: Scene, request: bytes) -> list[Seen]:
    """Ask until it is one that came again: a miss, a hit, and twice more."""
    answers = [scene.ask(request) for _ in range(4)]
    assert [state(answer) for answer in answers] == ["miss", "hit", "hit", "hit"]
    return answers
