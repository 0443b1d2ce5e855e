"""The endpoints: guard clauses that turn a request into a call of the pipeline, and its result into a reply."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.types import Receive, Scope

from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import credentials
from gateway.core.outcome import Outcome
from gateway.core.request import plain
from gateway.pipeline import Asked, Gateway
from gateway.ports import Store, StoreUnavailableError
from gateway.web.middleware import HEADERS, OUTCOME, read_body
from gateway.web.render import Reply, images_reply, json_reply, model_object, models_reply

# `curl -d` says form where it means JSON, and some clients say nothing at all.
_JSON_TYPES: Final = frozenset({"", "application/json", "text/json", "application/x-www-form-urlencoded"})

_NO_DIRECTIVES: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Everything that is served."""

    gateway: Gateway
    store: Store
    scrape: Callable[[], bytes]
    max_body: int

    async def generations(self, scope: Scope, receive: Receive) -> Reply:
        """`POST /v1/images/generations`."""
        outcome = _begin(scope, "generations")
        headers = scope[HEADERS]
        answer = await self.gateway.generate(_secret(headers), self._asked(scope, receive, headers), outcome)
        return images_reply(answer)

    async def plan(self, scope: Scope, receive: Receive) -> Reply:
        """`POST /v1/images/plan`."""
        outcome = _begin(scope, "plan")
        headers = scope[HEADERS]
        return json_reply(await self.gateway.plan(_secret(headers), self._asked(scope, receive, headers), outcome))

    async def models(self, scope: Scope, _receive: Receive) -> Reply:
        """`GET /v1/models`."""
        outcome = _begin(scope, "models")
        self.gateway.authenticate(_secret(scope[HEADERS]), outcome)
        return models_reply(self.gateway.catalogue)

    async def model(self, scope: Scope, _receive: Receive) -> Reply:
        """`GET /v1/models/{id}`, by any name that leads to a model."""
        outcome = _begin(scope, "models")
        self.gateway.authenticate(_secret(scope[HEADERS]), outcome)
        name = scope["path_params"]["id"]
        if (found := self.gateway.catalogue.resolve(name)) is None:
            message = f"The model {plain(name)!r} does not exist; GET /v1/models lists those that do."
            raise GatewayError(Kind.MODEL_NOT_FOUND, message, param="model")
        return json_reply(model_object(found.model))

    async def live(self, scope: Scope, _receive: Receive) -> Reply:
        """`GET /livez`: the process answers."""
        _begin(scope, "livez")
        return json_reply({"status": "ok"})

    async def ready(self, scope: Scope, _receive: Receive) -> Reply:
        """`GET /readyz`: what is missing; without Redis the gateway still serves, so it is still 200."""
        _begin(scope, "readyz")
        try:
            await self.store.execute("PING")
        except StoreUnavailableError:
            return json_reply({"status": "degraded", "checks": {"redis": "unavailable"}})
        return json_reply({"status": "ready", "checks": {"redis": "ok"}})

    async def metrics(self, scope: Scope, _receive: Receive) -> Reply:
        """`GET /metrics`, off the event loop: many series take a while to write."""
        _begin(scope, "metrics")
        body = await asyncio.to_thread(self.scrape)
        return Reply(200, [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")], len(body), (body,))

    async def greeting(self, scope: Scope, _receive: Receive) -> Reply:
        """`GET /`, which uptime checks ask for."""
        _begin(scope, "other")
        return json_reply({"message": "302.AI image gateway; POST /v1/images/generations, see GET /v1/models."})

    def _asked(self, scope: Scope, receive: Receive, headers: dict[bytes, bytes]) -> Asked:
        async def read() -> bytes:
            _expect_json(headers.get(b"content-type", b""))
            return await read_body(scope, receive, self.max_body)

        coercion = headers.get(b"x-gateway-coercion")
        directives = _directives(headers.get(b"cache-control"))
        no_store = "no-store" in directives
        return Asked(
            read,
            coercion=None if coercion is None else coercion.decode("latin-1"),
            look_up=not (no_store or "no-cache" in directives),
            keep=not no_store,
        )


def _begin(scope: Scope, endpoint: str) -> Outcome:
    outcome: Outcome = scope[OUTCOME]
    outcome.endpoint = endpoint
    return outcome


def _secret(headers: dict[bytes, bytes]) -> bytes | None:
    return credentials(headers.get(b"authorization"), headers.get(b"api-key"))


def _directives(cache_control: bytes | None) -> frozenset[str]:
    if cache_control is None:
        return _NO_DIRECTIVES
    return frozenset(part.strip().lower() for part in cache_control.decode("latin-1").split(","))


def _expect_json(content_type: bytes) -> None:
    if content_type == b"application/json":
        return
    kind = content_type.decode("latin-1").partition(";")[0].strip().lower()
    if kind in _JSON_TYPES or (kind.startswith("application/") and kind.endswith("+json")):
        return
    message = f"The content type is {plain(kind.replace('/', '-'))}; send the body as application/json."
    raise GatewayError(Kind.UNSUPPORTED_MEDIA_TYPE, message)
