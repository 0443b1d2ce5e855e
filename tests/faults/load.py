"""Those who ask: each comes with a prompt of its own, in one of the ways in which clients come, until it is answered.

One such errand must never be paid twice, whatever happens to the gateway meanwhile.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final
from uuid import UUID

import httpx
import openai
import orjson
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from tests.faults.scene import CANARY, Scene

PATH: Final = "/v1/images/generations"
KINDS: Final = ("named", "crowd", "retried", "sdk", "leaves")
_MODELS: Final = ("dall-e-3-t2i", "stable-sd3-t2i", "luma-t2i", "flux-dev")
# Ways in which 302 fails by itself, each of an outcome that nobody knows or that was surely not billed.
_FAILURES: Final = (
    "server-error",
    "network",
    "ai-timeout",
    "bad-gateway-html",
    "truncated",
    "reset",
    "reset-mid-body",
    "no-picture",
    "no-channel",
    "task-failed",
    "nsfw",
)
_CROWD: Final = 5
_TRIES: Final = 12
# What 302 will never draw is not asked for so long.
_TRIES_OF_FAILURES: Final = 3
_PATIENT: Final = 30.0
CUT_OFF: Final = (httpx.TransportError, AttributeError)
"""What httpx raises where there is nobody: the latter is anyio's, of a connection lost in the moment it was made."""
_SDK_TIMEOUT: Final = 1.0
_ORDERED: Final = re.compile(r"\[\[fail:([a-z-]+)\]\]")


@dataclass
class Told:
    """One answer."""

    status: int
    headers: httpx.Headers
    body: Any

    @property
    def urls(self) -> list[str]:
        """The pictures in it."""
        return [image["url"] for image in self.body["data"]] if self.status == 200 else []


@dataclass
class Errand:
    """One picture that somebody wants, and what was answered, in order."""

    kind: str
    body: dict[str, object]
    headers: dict[str, str]
    starts: float
    tries: int = _TRIES
    told: list[Told] = field(default_factory=list)

    @property
    def prompt(self) -> str:
        """What tells it from all others."""
        return str(self.body["prompt"])

    @property
    def urls(self) -> set[str]:
        """The pictures that were answered; one, if all is well."""
        return {url for told in self.told for url in told.urls}


def failures(calls: Sequence[dict[str, Any]]) -> Counter[str]:
    """The faults that 302 made by itself, in calls that reached it."""
    ordered = [_ORDERED.search(call["payload"]["prompt"]) for call in calls]
    return Counter(f"302:{found[1]}" for found in ordered if found)


@dataclass
class Load:
    """Errands against a gateway that may be away at times."""

    scene: Scene
    met: Counter[str] = field(default_factory=Counter)
    """The faults that clients made."""
    requests: int = 0

    async def run(self, errands: Sequence[Errand], lot: Random) -> None:
        """Have all errands done; nobody waits longer than it would take a gateway to come back."""
        http = httpx.AsyncClient(
            base_url=self.scene.url,
            headers={"authorization": f"Bearer {self.scene.key}"},
            timeout=_PATIENT,
            trust_env=False,
            # A connection each, so that every worker gets its share.
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        sdk = AsyncOpenAI(
            base_url=f"{self.scene.url}/v1",
            api_key=self.scene.key,
            http_client=DefaultAsyncHttpxClient(trust_env=False),
            timeout=_SDK_TIMEOUT,
            max_retries=2,
        )
        async with http, sdk:
            await asyncio.gather(*(self._do(errand, http, sdk, Random(lot.random())) for errand in errands))

    async def _do(self, errand: Errand, http: httpx.AsyncClient, sdk: AsyncOpenAI, lot: Random) -> None:
        await asyncio.sleep(errand.starts)
        match errand.kind:
            case "crowd":
                await asyncio.gather(*(self._ask(errand, http) for _ in range(_CROWD)))
            case "sdk":
                await self._with_sdk(errand, sdk)
                await self._until_told(errand, http, again=True)
            case "leaves":
                await self._leave(errand, lot.uniform(0, 0.4))
                await self._until_told(errand, http, again=True)
            case "retried":
                await self._until_told(errand, http, again=False)
            case _:
                await self._until_told(errand, http, again=None)

    async def _until_told(self, errand: Errand, http: httpx.AsyncClient, *, again: bool | None) -> None:
        """Ask until the answer is final; from the second time on (or the first) it is marked as an SDK marks it."""
        for tried in range(errand.tries):
            marked = again is not None and (again or tried > 0)
            told = await self._ask(errand, http, {"x-stainless-retry-count": "1"} if marked else {})
            if told is not None and told.headers.get("x-should-retry") != "true":
                return
            await asyncio.sleep(min(0.1 * 2**tried, 1.0))

    async def _ask(self, errand: Errand, http: httpx.AsyncClient, headers: dict[str, str] | None = None) -> Told | None:
        self.requests += 1
        try:
            answer = await http.post(PATH, json=errand.body, headers={**errand.headers, **(headers or {})})
        except CUT_OFF:
            return None
        told = Told(answer.status_code, answer.headers, orjson.loads(answer.content))
        errand.told.append(told)
        return told

    async def _with_sdk(self, errand: Errand, sdk: AsyncOpenAI) -> None:
        self.requests += 1
        began = time.monotonic()
        with suppress(openai.APIConnectionError, openai.APIStatusError):
            answer = await sdk.images.generate(
                prompt=errand.prompt, model=str(errand.body["model"]), extra_headers=errand.headers
            )
            body = {"data": [{"url": image.url} for image in answer.data or []]}
            errand.told.append(Told(200, httpx.Headers({"x-request-id": "of the SDK"}), body))
        self.met["sdk-timeout-1s"] += time.monotonic() - began >= _SDK_TIMEOUT

    async def _leave(self, errand: Errand, after: float) -> None:
        """Ask, and hang up without having read anything."""
        self.requests += 1
        data = orjson.dumps(errand.body)
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.scene.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", self.scene.port)
            writer.write(head.encode() + data)
            await writer.drain()
            await asyncio.sleep(after)
            writer.transport.abort()
            self.met["client-hangs-up"] += 1

    def errands(self, count: int, within: float, lot: Random, failing: float) -> list[Errand]:
        """Errands that begin within so many seconds, each of a kind drawn by lot; the share `failing` fails at 302."""
        return [self._errand(lot, within, failing) for _ in range(count)]

    def _errand(self, lot: Random, within: float, failing: float) -> Errand:
        name = UUID(int=lot.getrandbits(128)).hex
        kind = lot.choice(KINDS)
        orders = ""
        if lot.random() < failing:
            orders = f"[[fail:{lot.choice(_FAILURES)}]]"
        elif kind == "sdk":
            orders = "[[delay:1.5]]"
        body: dict[str, object] = {"model": lot.choice(_MODELS), "prompt": f"{CANARY} {kind} {name} {orders}"}
        headers = {"idempotency-key": f"errand-{name}"} if kind == "named" else {}
        # Not for a crowd, where everybody wants a picture of their own then.
        if kind != "crowd" and lot.random() < 0.3:
            headers["cache-control"] = "no-cache"
        return Errand(
            kind, body, headers, lot.uniform(0, within), _TRIES if "fail" not in orders else _TRIES_OF_FAILURES
        )
