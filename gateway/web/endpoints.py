"""The endpoints: guard clauses that turn a request into a call of the pipeline, and its result into a reply."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import msgspec
import orjson
from starlette.types import Receive, Scope

from gateway import __version__
from gateway.core.errors import GatewayError, Kind, invalid_value
from gateway.core.jobs import Job
from gateway.core.keys import check_model, credentials, may_use
from gateway.core.order import Asked, stays
from gateway.core.repeats import name_of
from gateway.core.request import Dialect, Form, plain
from gateway.fastpath import KeptOrder
from gateway.later import Asking, Later
from gateway.pipeline import Gateway
from gateway.ports import Store, StoreUnavailableError
from gateway.web.fastpath import FastPath, has_fast_path
from gateway.web.middleware import body_at_once, read_body
from gateway.web.openapi import document
from gateway.web.places import WebOptions, origin
from gateway.web.render import (
    JSON,
    Headers,
    Reply,
    done_reply,
    images_reply,
    job_reply,
    json_reply,
    model_object,
    models_reply,
    taken_headers,
)
from gateway.web.scope import DEPLOYMENT, FAST_PATH, GONE, HEADERS, begin
from gateway.web.streaming import kept_alive, stream_reply
from gateway.web.uploads import read_form

# `curl -d` says form where it means JSON, and some clients say nothing at all.
_JSON_TYPES: Final = frozenset({"", "application/json", "text/json", "application/x-www-form-urlencoded"})

_JSON: Final = b"application/json"
_FORM: Final = b"multipart/form-data"
_FORM_LENGTH: Final = len(_FORM)
_SECONDS: Final = re.compile(rb"[0-9]{1,7}(\.[0-9]{1,6})?")
_SHARE: Final = 0.95
_NO_DIRECTIVES: Final[frozenset[str]] = frozenset()


@dataclass(slots=True)
class Endpoints:
    """Everything that is served. A reload puts another gateway and other options in the place of these."""

    gateway: Gateway
    store: Store
    database_answers: Callable[[], Awaitable[bool]]
    scrape: Callable[[], bytes]
    options: WebOptions
    later: Later
    added: Headers = field(default_factory=list)
    """What every answer gets on its way out, beside what all have in common."""

    def generations(self, scope: Scope, receive: Receive) -> Awaitable[Reply]:
        """`POST /v1/images/generations`."""
        return self._images(Dialect.GENERATIONS, scope, receive)

    def edits(self, scope: Scope, receive: Receive) -> Awaitable[Reply]:
        """`POST /v1/images/edits`, multipart or JSON."""
        return self._images(Dialect.EDITS, scope, receive)

    def variations(self, scope: Scope, receive: Receive) -> Awaitable[Reply]:
        """`POST /v1/images/variations`, multipart."""
        return self._images(Dialect.VARIATIONS, scope, receive)

    async def generations_async(self, scope: Scope, receive: Receive) -> Reply:
        """`POST /v1/images/generations/async`, for those who cannot say Prefer."""
        outcome = begin(scope, Dialect.GENERATIONS)
        asked = self._asked(Dialect.GENERATIONS, scope, receive)
        asking = await self.later.accept(_secret(scope[HEADERS]), asked, outcome, self._origin(scope))
        if not asking.can_wait:
            raise invalid_value("stream", "A job has no stream: leave it out, or POST to /v1/images/generations.")
        return await self._taken(scope, asking)

    async def job(self, scope: Scope, _receive: Receive) -> Reply:
        """`GET /v1/images/jobs/{id}`."""
        outcome = begin(scope, "jobs")
        job = await self.later.find(_secret(scope[HEADERS]), scope["path_params"]["id"], outcome)
        return await self._job(scope, job)

    async def plan(self, scope: Scope, receive: Receive) -> Reply:
        """`POST /v1/images/plan`."""
        outcome = begin(scope, "plan")
        headers = scope[HEADERS]
        asked = self._asked(Dialect.GENERATIONS, scope, receive)
        return json_reply(await self.gateway.plan(await self.gateway.accept(_secret(headers), asked, outcome)))

    async def models(self, scope: Scope, _receive: Receive) -> Reply:
        """`GET /v1/models`."""
        outcome = begin(scope, "models")
        caller = await self.gateway.authenticate(_secret(scope[HEADERS]), outcome)
        return models_reply(model for model in self.gateway.catalogue.models.values() if may_use(caller, model.id))

    async def model(self, scope: Scope, _receive: Receive) -> Reply:
        """`GET /v1/models/{id}`, by any name that leads to a model."""
        outcome = begin(scope, "models")
        caller = await self.gateway.authenticate(_secret(scope[HEADERS]), outcome)
        name = scope["path_params"]["id"]
        if (found := self.gateway.catalogue.resolve(name)) is None:
            message = f"The model {plain(name)!r} does not exist; GET /v1/models lists those that do."
            raise GatewayError(Kind.MODEL_NOT_FOUND, message, param="model")
        check_model(caller, found.model.id)
        return json_reply(model_object(found.model))

    async def live(self, scope: Scope, _receive: Receive) -> Reply:
        """`GET /livez`: the process answers."""
        begin(scope, "livez")
        return json_reply({"status": "ok"})

    async def ready(self, scope: Scope, _receive: Receive) -> Reply:
        """`GET /readyz`: what is missing; what can be served without it still is, so it is 200 all the same.

        A process that is ending is not ready.
        """
        begin(scope, "readyz")
        if self.gateway.drain.draining:
            return json_reply({"status": "draining"}, Kind.DRAINING.row.status)
        redis, database = await asyncio.gather(self._redis_answers(), self.database_answers())
        checks = {"redis": redis, "database": database}
        told = {name: "ok" if well else "unavailable" for name, well in checks.items()}
        return json_reply({"status": "ready" if all(checks.values()) else "degraded", "checks": told})

    async def _redis_answers(self) -> bool:
        try:
            await self.store.execute("PING")
        except StoreUnavailableError:
            return False
        return True

    async def metrics(self, scope: Scope, _receive: Receive) -> Reply:
        """`GET /metrics`, off the event loop: many series take a while to write."""
        begin(scope, "metrics")
        body = await asyncio.to_thread(self.scrape)
        return Reply(200, [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")], len(body), (body,))

    async def openapi(self, scope: Scope, _receive: Receive) -> Reply:
        """`GET /openapi.json`: this API, described for programs."""
        begin(scope, "openapi")
        body = _document(tuple(self.gateway.catalogue.models))
        return Reply(200, [JSON], len(body), (body,))

    async def greeting(self, scope: Scope, _receive: Receive) -> Reply:
        """`GET /`, which uptime checks ask for."""
        begin(scope, "other")
        return json_reply({"message": "302.AI image gateway; POST /v1/images/generations, see GET /v1/models."})

    async def _images(self, dialect: Dialect, scope: Scope, receive: Receive) -> Reply:
        outcome, gateway = begin(scope, dialect), self.gateway
        asked, headers = self._asked(dialect, scope, receive), scope[HEADERS]
        if prefers_async(headers.get(b"prefer")):
            asking = await self.later.accept(_secret(headers), asked, outcome, self._origin(scope))
            if asking.can_wait:
                return await self._taken(scope, asking)
            order = await gateway.admit(asking.unnamed)
        else:
            order = await gateway.admit(await gateway.accept(_secret(headers), asked, outcome))
        if order.stream:
            await self.later.check(order)  # once its head is out, it can no longer be told to ask elsewhere
            return stream_reply(gateway, order)
        place = self._origin(scope)
        try:
            if self.options.keepalive_after > 0:
                return await kept_alive(gateway, order, place, self.options.keepalive_after)
            answer = await gateway.generate(order)
            if has_fast_path(gateway, order, answer, headers):
                kept = KeptOrder(gateway, order, _secret(headers))
                scope[FAST_PATH] = FastPath(lambda: self.gateway, kept, outcome, self.added)
            return images_reply(answer, place, order.held.close)
        except BaseException:  # of several pictures some may have come; of a wait that is cancelled too
            order.held.close()
            raise

    async def _taken(self, scope: Scope, asking: Asking) -> Reply:
        job, order = await self.later.submit(asking)
        preferred = prefers_async(scope[HEADERS].get(b"prefer"))
        reply = await self._job(scope, job)
        return msgspec.structs.replace(
            reply, status=202, headers=[*reply.headers, *taken_headers(job, order, preferred=preferred)]
        )

    async def _job(self, scope: Scope, job: Job) -> Reply:
        if job.ended is None or job.ended.error is not None:
            return job_reply(job)
        answer, close = await self.later.answer(job.ended)
        return done_reply(job, answer, self._origin(scope), close)

    def _origin(self, scope: Scope) -> str:
        # Only what lies in our own store needs the name by which the caller knows us.
        return origin(scope, self.options).decode() if self.gateway.gallery.media is not None else ""

    def _asked(self, dialect: Dialect, scope: Scope, receive: Receive) -> Asked:
        headers: dict[bytes, bytes] = scope[HEADERS]
        content_type = headers.get(b"content-type", b"")

        async def read() -> bytes | Form:
            if content_type[:_FORM_LENGTH].lower() == _FORM and dialect is not Dialect.GENERATIONS:
                return await read_form(content_type, await read_body(scope, receive, self.options.max_form))
            _expect_json(content_type, dialect)
            return await read_body(scope, receive, self.options.max_body)

        is_plain = content_type == _JSON and dialect is not Dialect.VARIATIONS
        body = body_at_once(scope, self.options.max_body) if is_plain else None
        directives = _directives(headers.get(b"cache-control"))
        no_store = "no-store" in directives
        return Asked(
            read,
            dialect,
            model=scope.get(DEPLOYMENT),
            patience=_patience(headers),
            is_retry=headers.get(b"x-stainless-retry-count", b"0") != b"0",
            coercion=_text(headers.get(b"x-gateway-coercion")),
            look_up=not (no_store or "no-cache" in directives),
            keep=not no_store,
            attempt=name_of(_text(headers.get(b"idempotency-key"))),
            gone=scope.get(GONE, stays),
            body=body,
        )


@cache
def _document(models: tuple[str, ...]) -> bytes:
    return orjson.dumps(document(__version__, models))


def _text(header: bytes | None) -> str | None:
    return None if header is None else header.decode("latin-1")


def _secret(headers: dict[bytes, bytes]) -> bytes | None:
    return credentials(headers.get(b"authorization"), headers.get(b"api-key"))


def _directives(cache_control: bytes | None) -> frozenset[str]:
    if cache_control is None:
        return _NO_DIRECTIVES
    return frozenset(part.strip().lower() for part in cache_control.decode("latin-1").split(","))


def _expect_json(content_type: bytes, dialect: Dialect) -> None:
    kind = content_type.decode("latin-1").partition(";")[0].strip().lower()
    known = kind in _JSON_TYPES or (kind.startswith("application/") and kind.endswith("+json"))
    if known and dialect is not Dialect.VARIATIONS:
        return
    wanted = {
        Dialect.GENERATIONS: "application/json",
        Dialect.EDITS: "multipart/form-data or application/json",
        Dialect.VARIATIONS: "multipart/form-data",
    }[dialect]
    message = f"The content type is {plain(kind)}; send the body as {wanted}."
    raise GatewayError(Kind.UNSUPPORTED_MEDIA_TYPE, message)


def prefers_async(prefer: bytes | None) -> bool:
    """Whether `Prefer` (RFC 7240) asks for an answer that can be come back for."""
    return prefer is not None and any(
        part.partition(b";")[0].strip().lower() == b"respond-async" for part in prefer.split(b",")
    )


def _patience(headers: dict[bytes, bytes]) -> float | None:
    """How long the caller will wait, by what OpenAI's SDKs tell of it; a moment less, so that our answer arrives."""
    for name in (b"x-stainless-read-timeout", b"x-stainless-timeout"):
        value = headers.get(name)
        if value is not None and _SECONDS.fullmatch(value):
            return max(float(value) * _SHARE, 0.1)
    return None
