"""The picture: what happens to a request, step by step, in the order of the drawing in README.

The steps are verbs, and each decides through `gateway.core` and acts through a port. Nothing here knows HTTP, Redis or
Prometheus; what a caller gets to see of an answer is `gateway.web.render`'s part.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

from gateway.core.catalogue import Catalogue
from gateway.core.coerce import Adjustment, Policy
from gateway.core.entry import Entry
from gateway.core.errors import GatewayError, Kind, invalid_value
from gateway.core.keys import Caller, Keyring
from gateway.core.outcome import WORDS, CacheState, Outcome
from gateway.core.request import ImageRequest, parse
from gateway.core.translate import ImageFormat, Payload, Plan, Rules, describe, image_format, is_gpt_image, translate
from gateway.flights import Flights
from gateway.ports import Cache, Clock, Downloader, Drawn, Observer, Upstream

T = TypeVar("T")

# Bodies above this many bytes carry pictures; decoding and hashing them would hold up every other request of the
# worker.
_LARGE: Final = 256 * 1024
_SMALL: Final = 4 * 1024
_MOST_UNDERSTOOD: Final = 1024


@dataclass(frozen=True, slots=True)
class Options:
    """The settings the pipeline depends on; times in seconds."""

    policy: Policy = Policy.DOCUMENTED
    cache_scope: str = "gateway"
    cache_ttl: int = 3600
    answer_timeout: float = 290.0
    rules: Rules = Rules()


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A request as it came in: how to read its body, and what its headers ask of cache and coercion."""

    read: Callable[[], Awaitable[bytes]]
    coercion: str | None = None
    look_up: bool = True
    keep: bool = True


class Picture(msgspec.Struct, frozen=True, gc=False):
    """One picture of the answer; `data` only where bytes were asked for. `ttl` in seconds, for a hit."""

    url: str
    cache: CacheState
    ttl: int = 0
    stored: bool = False
    data: bytes | None = None


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What the caller gets, before it is bytes. `created` in whole seconds since 1970."""

    created: int
    pictures: list[Picture]
    format: ImageFormat
    usage: bool
    adjustments: tuple[Adjustment, ...]


class _Flown(msgspec.Struct, frozen=True, gc=False):
    drawn: Drawn
    stored: bool


class _Understood(msgspec.Struct, frozen=True, gc=False):
    """What a body means; `digest` is of the prompt, for the log."""

    plan: Plan
    format: ImageFormat
    usage: bool
    prompt_length: int
    digest: str


class _Job(msgspec.Struct, frozen=True, gc=False):
    """One request on its way through the steps."""

    caller: Caller
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
    understood: dict[tuple[bytes, Policy, str], _Understood] = field(default_factory=dict)
    """What small bodies meant, the oldest forgotten first: a cache hit is a body that was read before."""

    async def generate(self, secret: bytes | None, asked: Asked, outcome: Outcome) -> Answer:
        """Answer `POST /v1/images/generations`.

        Raises:
            GatewayError: any kind; `outcome` is filled as far as the request came.
        """
        deadline = self.clock.monotonic() + self.options.answer_timeout
        caller = self.authenticate(secret, outcome)
        understood = await self._understand(caller, asked, outcome)
        job = _Job(caller, understood.plan, asked, deadline, outcome)
        pictures = await _all([self._picture(job, payload) for payload in job.plan.payloads])
        states = [picture.cache for picture in pictures]
        outcome.states = tuple([WORDS[state] for state in states])
        outcome.cache, outcome.images = WORDS[max(states)], len(states)
        return await self.respond(job, understood, pictures)

    async def plan(self, secret: bytes | None, asked: Asked, outcome: Outcome) -> dict[str, object]:
        """Answer `POST /v1/images/plan`: what a generation would become; nothing is spent.

        Raises:
            GatewayError: as `generate` would for the same body.
        """
        caller = self.authenticate(secret, outcome)
        plan = (await self._understand(caller, asked, outcome)).plan
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

    def translate(self, request: ImageRequest, policy: Policy, scope: str) -> Plan:
        """ImageRequest × Model → Plan."""
        return translate(request, self.catalogue, policy, scope, self.options.rules)

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
        patience = max(0.0, job.deadline - self.clock.monotonic())
        try:
            landed = await self.flights.join(key, lambda: self._fly(job, payload), patience)
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

    async def respond(self, job: _Job, understood: _Understood, pictures: list[Picture]) -> Answer:
        """Pictures → Answer, with bytes where they were asked for."""
        if understood.format != "url":
            pictures = await _all([self.materialize(job, picture) for picture in pictures])
        created = int(self.clock.now())
        return Answer(created, pictures, understood.format, understood.usage, job.plan.adjustments)

    async def _picture(self, job: _Job, payload: Payload) -> Picture:
        return await self.recall(job, payload) or await self.join(job, payload)

    async def _fly(self, job: _Job, payload: Payload) -> _Flown:
        drawn = await self.send(job, payload)
        return _Flown(drawn, await self.settle(job, payload, drawn))

    async def _understand(self, caller: Caller, asked: Asked, outcome: Outcome) -> _Understood:
        policy = self._policy(asked.coercion)
        data = await asked.read()
        key = (data, policy, self._scope(caller))
        understood = self.understood.get(key)
        if understood is None:
            if len(data) > _LARGE:
                understood = await asyncio.to_thread(self._read, *key)
            else:
                understood = self._read(*key)
            if len(data) <= _SMALL:
                self._remember(key, understood)
        plan = understood.plan
        outcome.prompt_length, outcome.prompt_sha256 = understood.prompt_length, understood.digest
        outcome.model = plan.model.id if plan.known else "other"
        outcome.micro_usd = plan.model.price
        outcome.adjusted = tuple([adjustment.field for adjustment in plan.adjustments])
        return understood

    def _read(self, data: bytes, policy: Policy, scope: str) -> _Understood:
        request = self.parse(data)
        return _Understood(
            plan=self.translate(request, policy, scope),
            format=image_format(request, self.options.rules),
            usage=is_gpt_image(request.model),
            prompt_length=len(request.prompt),
            digest=hashlib.sha256(request.prompt.encode(errors="replace")).hexdigest()[:16],
        )

    def _remember(self, key: tuple[bytes, Policy, str], understood: _Understood) -> None:
        if len(self.understood) >= _MOST_UNDERSTOOD:
            del self.understood[next(iter(self.understood))]
        self.understood[key] = understood

    def _scope(self, caller: Caller) -> str:
        match self.options.cache_scope:
            case "team":
                return f"team:{caller.team}"
            case "key":
                return f"key:{caller.key}"
            case _:
                return "gateway"

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
