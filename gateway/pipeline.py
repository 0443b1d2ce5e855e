"""The picture: what happens to a request, step by step, in the order of the drawing in README.

The steps are verbs, and each decides through `gateway.core` and acts through a port. Nothing here knows HTTP, Redis or
Prometheus; what a caller gets to see of an answer is `gateway.web.render`'s part.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from gateway.core.catalogue import Catalogue
from gateway.core.coerce import Adjustment, Policy
from gateway.core.entry import Entry
from gateway.core.errors import GatewayError, Kind, invalid_value
from gateway.core.keys import Caller, Keyring
from gateway.core.outcome import CacheState, Outcome
from gateway.core.request import ImageRequest, parse
from gateway.core.translate import ImageFormat, Payload, Plan, Rules, describe, image_format, is_gpt_image, translate
from gateway.flights import Flights
from gateway.ports import Cache, Clock, Downloader, Drawn, Observer, Upstream

T = TypeVar("T")

# Bodies above this many bytes carry pictures; decoding and hashing them would hold up every other request of the
# worker.
_LARGE: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Options:
    """The settings the pipeline depends on; times in seconds."""

    policy: Policy = Policy.DOCUMENTED
    cache_scope: str = "gateway"
    cache_ttl: int = 3600
    answer_timeout: float = 290.0
    rules: Rules = Rules()


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came in: how to read its body, and what its headers ask of cache and coercion."""

    read: Callable[[], Awaitable[bytes]]
    coercion: str | None = None
    look_up: bool = True
    keep: bool = True


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of the answer; `data` only where bytes were asked for. `ttl` in seconds, for a hit."""

    url: str
    cache: CacheState
    ttl: int = 0
    stored: bool = False
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller gets, before it is bytes. `created` in whole seconds since 1970."""

    created: int
    pictures: list[Picture]
    format: ImageFormat
    usage: bool
    adjustments: tuple[Adjustment, ...]


@dataclass(frozen=True, slots=True)
class _Flown:
    drawn: Drawn
    stored: bool


@dataclass(frozen=True, slots=True)
class _Job:
    """One request on its way through the steps."""

    caller: Caller
    request: ImageRequest
    plan: Plan
    asked: Asked
    deadline: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Gateway:
    """The ports, wired, and the steps between them."""

    keyring: Keyring
    catalogue: Catalogue
    cache: Cache
    flights: Flights[_Flown]
    upstream: Upstream
    downloader: Downloader
    observer: Observer
    clock: Clock
    options: Options

    async def generate(self, secret: bytes | None, asked: Asked, outcome: Outcome) -> Answer:
        """Answer `POST /v1/images/generations`.

        Raises:
            GatewayError: any kind; `outcome` is filled as far as the request came.
        """
        deadline = self.clock.monotonic() + self.options.answer_timeout
        caller = self.authenticate(secret, outcome)
        request, plan = await self._understand(caller, asked, outcome)
        job = _Job(caller, request, plan, asked, deadline, outcome)
        pictures = await _all([self._picture(job, payload) for payload in plan.payloads])
        outcome.cache = tuple(picture.cache for picture in pictures)
        return await self.respond(job, pictures)

    async def plan(self, secret: bytes | None, asked: Asked, outcome: Outcome) -> dict[str, object]:
        """Answer `POST /v1/images/plan`: what a generation would become; nothing is spent.

        Raises:
            GatewayError: as `generate` would for the same body.
        """
        caller = self.authenticate(secret, outcome)
        _, plan = await self._understand(caller, asked, outcome)
        kept = await _all([self.cache.recall(payload.fingerprint, caller) for payload in plan.payloads])
        return describe(plan, [isinstance(entry, Entry) for entry in kept])

    def authenticate(self, secret: bytes | None, outcome: Outcome) -> Caller:
        """Key → Caller."""
        caller = self.keyring.caller(secret)
        outcome.key, outcome.team = caller.key, caller.team
        return caller

    def parse(self, data: bytes) -> ImageRequest:
        """Body → ImageRequest."""
        return parse(data)

    def translate(self, request: ImageRequest, caller: Caller, policy: Policy) -> Plan:
        """ImageRequest × Model → Plan."""
        options = self.options
        scope = {"team": caller.team, "key": caller.key}.get(options.cache_scope, "")
        return translate(request, self.catalogue, policy, f"{options.cache_scope}:{scope}", options.rules)

    async def recall(self, job: _Job, payload: Payload) -> Picture | None:
        """Look for a kept picture; an unknown outcome is told again even where the look-up is skipped."""
        found = await self.cache.recall(payload.fingerprint, job.caller)
        if isinstance(found, GatewayError):
            raise found
        if found is None or not job.asked.look_up:
            return None
        return Picture(found.url, CacheState.HIT, ttl=max(0, int(found.expires - self.clock.now())))

    async def join(self, job: _Job, payload: Payload) -> Picture:
        """Share the flight of this fingerprint, or begin it; whoever asked for a fresh picture flies alone."""
        fresh = not job.asked.look_up
        key = None if fresh else payload.fingerprint
        try:
            async with asyncio.timeout(max(0.0, job.deadline - self.clock.monotonic())):
                landed = await self.flights.join(key, lambda: self._fly(job, payload))
        except TimeoutError:
            message = "The picture is still being drawn; ask again and you join it."
            raise GatewayError(Kind.STILL_RUNNING, message) from None
        state = CacheState.JOINED if landed.joined else CacheState.BYPASS if fresh else CacheState.MISS
        return Picture(landed.value.drawn.url, state, stored=landed.value.stored)

    async def send(self, job: _Job, payload: Payload) -> Drawn:
        """POST to 302.AI, outside of the client's connection."""
        started = self.clock.monotonic()
        code, request_id = Kind.INTERNAL_ERROR.row.code, ""
        try:
            drawn = await self.upstream.send(payload.body, job.plan.model, known_model=job.plan.known)
            code, request_id = "ok", drawn.request_id
        except GatewayError as error:
            code, request_id = error.kind.row.code, error.upstream_request_id
            if error.kind.row.outcome_unknown:
                await self.cache.hold(payload.fingerprint, job.caller, error)
            raise
        finally:
            self.observer.upstream(job.outcome.model, code, self.clock.monotonic() - started)
            job.outcome.upstream_request_ids += (request_id,) if request_id else ()
        return drawn

    async def settle(self, job: _Job, payload: Payload, drawn: Drawn) -> bool:
        """Count the cost and keep the picture; whether it was kept."""
        self.observer.paid(job.caller, job.outcome.model, job.plan.model.price)
        return job.asked.keep and await self.cache.keep(payload.fingerprint, drawn.url)

    async def materialize(self, job: _Job, picture: Picture) -> Picture:
        """Fetch the bytes of a picture."""
        data = await self.downloader.fetch(picture.url, job.deadline)
        return Picture(picture.url, picture.cache, picture.ttl, picture.stored, data)

    async def respond(self, job: _Job, pictures: list[Picture]) -> Answer:
        """Pictures → Answer, with bytes where they were asked for."""
        form = image_format(job.request, self.options.rules)
        if form != "url":
            pictures = await _all([self.materialize(job, picture) for picture in pictures])
        usage = is_gpt_image(job.request.model)
        return Answer(int(self.clock.now()), pictures, form, usage, job.plan.adjustments)

    async def _picture(self, job: _Job, payload: Payload) -> Picture:
        return await self.recall(job, payload) or await self.join(job, payload)

    async def _fly(self, job: _Job, payload: Payload) -> _Flown:
        drawn = await self.send(job, payload)
        return _Flown(drawn, await self.settle(job, payload, drawn))

    async def _understand(self, caller: Caller, asked: Asked, outcome: Outcome) -> tuple[ImageRequest, Plan]:
        policy = self._policy(asked.coercion)
        data = await asked.read()
        large = len(data) > _LARGE
        request = await asyncio.to_thread(self.parse, data) if large else self.parse(data)
        outcome.prompt_length = len(request.prompt)
        outcome.prompt_digest = hashlib.sha256(request.prompt.encode(errors="replace")).hexdigest()[:16]
        plan = (
            await asyncio.to_thread(self.translate, request, caller, policy)
            if large
            else self.translate(request, caller, policy)
        )
        outcome.model = plan.model.id if plan.known else "other"
        outcome.price = plan.model.price
        outcome.adjusted_fields = tuple(adjustment.field for adjustment in plan.adjustments)
        return request, plan

    def _policy(self, name: str | None) -> Policy:
        if name is None:
            return self.options.policy
        try:
            return Policy(name.strip().lower())
        except ValueError:
            message = f"x-gateway-coercion must be one of {', '.join(Policy)}."
            raise invalid_value("x-gateway-coercion", message) from None


async def _all(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All together; the first failure is the answer. One alone needs no task of its own."""
    return [await work[0]] if len(work) == 1 else list(await asyncio.gather(*work))
