"""The picture: what happens to a request, step by step, in the order of the drawing in README.

The steps are verbs, and each decides through `gateway.core` and acts through a port. Nothing here knows HTTP, Redis or
Prometheus; what a caller gets to see of an answer is `gateway.web.render`'s part.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from gateway.callers import identify
from gateway.core.catalogue import Catalogue
from gateway.core.coerce import Policy
from gateway.core.edits import parse_edit, parse_form
from gateway.core.entry import Entry
from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import Caller, Keyring, check_model, check_standing, policy_for
from gateway.core.order import (
    MEDIA,
    Answer,
    Asked,
    Memo,
    Options,
    Order,
    Picture,
    Understood,
    media_name,
    policy_of,
    scope_of,
)
from gateway.core.outcome import WORDS, CacheState, Outcome
from gateway.core.picture import media_type
from gateway.core.request import Dialect, Form, ImageRequest, parse
from gateway.core.translate import Payload, Plan, describe, image_format, is_gpt_image, translate
from gateway.flights import Flights, hear, together
from gateway.ports import (
    Cache,
    Clock,
    Directory,
    Downloader,
    Drawn,
    MediaStore,
    MediaUnavailableError,
    Observer,
    Upstream,
)

# Bodies above this many bytes carry pictures; decoding and hashing them would hold up every other request of the
# worker.
_LARGE: Final = 256 * 1024
_SMALL: Final = 4 * 1024
_TAKE_IN_WITHIN: Final = 60.0


class _Flown(msgspec.Struct, frozen=True, gc=False):
    url: str
    stored: bool


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
    media: MediaStore | None = None
    directory: Directory | None = None
    memo: Memo = field(default_factory=Memo)

    async def accept(self, secret: bytes | None, asked: Asked, outcome: Outcome) -> Order:
        """Take a request as far as it costs nothing: who asks, for what, and what it becomes.

        Raises:
            GatewayError: any kind of the caller's own making; `outcome` is filled as far as the request came.
        """
        started = self.clock.monotonic()
        caller = await self.authenticate(secret, outcome)
        found = await self._understand(caller, asked, outcome)
        wait = self.options.answer_timeout
        if asked.patience is not None and not found.stream:
            wait = min(wait, asked.patience)
        return Order(caller, found.plan, found.format, found.usage, found.stream, asked, started + wait, outcome)

    async def generate(self, order: Order) -> Answer:
        """Have all pictures drawn, together.

        Raises:
            GatewayError: of the first picture that failed.
        """
        pictures = await together([self._picture(order, payload) for payload in order.plan.payloads])
        self._count(order, pictures)
        return await self.respond(order, pictures)

    async def each(self, order: Order) -> AsyncIterator[Picture | None]:
        """Have all pictures drawn, and yield each with its bytes as it comes; None whenever there was long silence.

        Raises:
            GatewayError: of the first picture that failed.
        """
        loop = asyncio.get_running_loop()
        waiting = {loop.create_task(self._with_bytes(order, payload)) for payload in order.plan.payloads}
        for task in waiting:
            task.add_done_callback(hear)
        pictures: list[Picture] = []
        try:
            while waiting:
                done, waiting = await asyncio.wait(
                    waiting, timeout=self.options.heartbeat, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    pictures.append(task.result())
                    yield pictures[-1]
                if not done:
                    yield None
        finally:
            if pictures:
                self._count(order, pictures)
            # Only these waiters end: the flights they wait for go on.
            for task in waiting:
                task.cancel()

    async def plan(self, order: Order) -> dict[str, object]:
        """Tell what a generation would become; nothing is spent."""
        cached = await together([self._is_cached(order, payload) for payload in order.plan.payloads])
        return describe(order.plan, cached)

    async def authenticate(self, secret: bytes | None, outcome: Outcome) -> Caller:
        """Key → Caller."""
        caller = await identify(self.keyring, self.directory, secret)
        outcome.key, outcome.team = caller.key, caller.team
        check_standing(caller, self.clock.now())
        return caller

    def parse(self, dialect: Dialect, data: bytes | Form) -> ImageRequest:
        """Body → ImageRequest."""
        if isinstance(data, Form):
            return parse_form(dialect, data, self.options.variation_prompt)
        return parse(data) if dialect is Dialect.GENERATIONS else parse_edit(data)

    def translate(self, request: ImageRequest, policy: Policy, scope: str) -> Plan:
        """ImageRequest × Model → Plan."""
        return translate(request, self.catalogue, policy, scope, self.options.rules)

    async def recall(self, order: Order, payload: Payload) -> Picture | None:
        """Look for a kept picture; an unknown outcome is told again even where the look-up is skipped."""
        found = await self.cache.recall(payload.fingerprint, order.caller)
        if isinstance(found, GatewayError):
            raise found
        if found is None or not order.asked.look_up:
            return None
        name = media_name(found.url)
        if name is not None and not await self._is_kept(name):
            return None
        return Picture(found.url, CacheState.HIT, ttl=max(0, int(found.expires - self.clock.now())))

    async def join(self, order: Order, payload: Payload) -> Picture:
        """Share the flight of this fingerprint, or begin it; whoever asked for a fresh picture flies alone."""
        fresh = not order.asked.look_up
        # A fresh picture is for its caller alone, who may have given up waiting and come back for it.
        key = f"{order.caller.key}:{payload.fingerprint}" if fresh else payload.fingerprint
        alone = fresh and not order.asked.is_retry
        patience = max(0.0, order.deadline - self.clock.monotonic())
        try:
            landed = await self.flights.join(key, lambda: self._fly(order, payload), patience, fresh=alone)
        except TimeoutError:
            message = "The picture is still being drawn; ask again and you join it."
            raise GatewayError(Kind.STILL_RUNNING, message) from None
        state = CacheState.JOINED if landed.joined else CacheState.BYPASS if fresh else CacheState.MISS
        return Picture(landed.value.url, state, stored=landed.value.stored)

    async def send(self, order: Order, payload: Payload) -> Drawn:
        """POST to 302.AI, outside of the client's connection."""
        started = self.clock.monotonic()
        code, request_id = Kind.INTERNAL_ERROR.row.code, ""
        try:
            drawn = await self.upstream.send(payload.body, order.plan.model, known_model=order.plan.known)
            code, request_id = "ok", drawn.request_id
        except GatewayError as error:
            code, request_id = error.kind.row.code, error.upstream_request_id
            if error.kind.row.outcome_unknown:
                await self.cache.hold(payload.fingerprint, order.caller, error)
            raise
        finally:
            self.observer.upstream(order.outcome.model, code, self.clock.monotonic() - started)
            order.outcome.upstream_request_ids += (request_id,) if request_id else ()
        return drawn

    async def settle(self, order: Order, payload: Payload, drawn: Drawn) -> _Flown:
        """Count the cost, take the picture into our own store where there is one, and keep it."""
        self.observer.paid(order.caller, order.outcome.model, order.plan.model.price)
        name = await self._take_in(drawn.url) if self.media is not None else None
        url, ttl = (drawn.url, self.options.url_ttl) if name is None else (MEDIA + name, self.options.media_ttl)
        return _Flown(url, order.asked.keep and await self.cache.keep(payload.fingerprint, url, ttl))

    async def materialize(self, order: Order, picture: Picture) -> Picture:
        """Fetch the bytes of a picture."""
        name = media_name(picture.url)
        if name is None or self.media is None:
            data = await self.downloader.fetch(picture.url, order.deadline)
        else:
            data = await self._from_store(self.media, name)
        return msgspec.structs.replace(picture, data=data)

    async def respond(self, order: Order, pictures: list[Picture]) -> Answer:
        """Pictures → Answer, with bytes where they were asked for."""
        if order.format != "url":
            pictures = await together([self.materialize(order, picture) for picture in pictures])
        return Answer(int(self.clock.now()), pictures, order.format, order.usage, order.plan.adjustments)

    async def _picture(self, order: Order, payload: Payload) -> Picture:
        return await self.recall(order, payload) or await self.join(order, payload)

    async def _with_bytes(self, order: Order, payload: Payload) -> Picture:
        return await self.materialize(order, await self._picture(order, payload))

    async def _fly(self, order: Order, payload: Payload) -> _Flown:
        drawn = await self.send(order, payload)
        return await self.settle(order, payload, drawn)

    async def _take_in(self, url: str) -> str | None:
        """Copy a picture into our store; where that fails 302's own address still serves."""
        try:
            data = await self.downloader.fetch(url, self.clock.monotonic() + _TAKE_IN_WITHIN)
            return await self.media.keep(data, media_type(data) or "") if self.media is not None else None
        except (GatewayError, MediaUnavailableError):
            self.observer.dependency_error("media")
            return None

    async def _is_cached(self, order: Order, payload: Payload) -> bool:
        found = await self.cache.recall(payload.fingerprint, order.caller)
        name = media_name(found.url) if isinstance(found, Entry) else None
        return isinstance(found, Entry) and (name is None or await self._is_kept(name))

    async def _is_kept(self, name: str) -> bool:
        """Whether our store still has a picture. One that cannot say has lost nothing: asking 302 again would cost."""
        try:
            return self.media is not None and await self.media.find(name) is not None
        except MediaUnavailableError:
            self.observer.dependency_error("media")
            return True

    async def _from_store(self, media: MediaStore, name: str) -> bytes:
        try:
            if (found := await media.find(name)) is not None:
                return await media.read(name, 0, found.size)
        except MediaUnavailableError:
            self.observer.dependency_error("media")
        raise GatewayError(Kind.IMAGE_UNAVAILABLE, "The kept picture cannot be read now; ask again for it.")

    def _count(self, order: Order, pictures: list[Picture]) -> None:
        outcome = order.outcome
        states = [picture.cache for picture in pictures]
        outcome.states = tuple([WORDS[state] for state in states])
        outcome.cache, outcome.images = WORDS[max(states)], len(states)

    async def _understand(self, caller: Caller, asked: Asked, outcome: Outcome) -> Understood:
        policy = policy_of(asked.coercion, policy_for(caller, self.options.policy))
        data = await asked.read()
        scope = scope_of(self.options.cache_scope, caller)
        if isinstance(data, Form) or len(data) > _LARGE:
            understood = await asyncio.to_thread(self._read, asked, data, policy, scope)
        else:
            key = (asked.dialect, asked.model, data, policy, scope)
            known = self.memo.find(key)
            understood = self._read(asked, data, policy, scope) if known is None else known
            if known is None and len(data) <= _SMALL:
                self.memo.keep(key, understood)
        plan = understood.plan
        outcome.prompt_length, outcome.prompt_sha256 = understood.prompt_length, understood.digest
        outcome.model = plan.model.id if plan.known else "other"
        outcome.micro_usd, outcome.adjusted = plan.model.price, understood.adjusted
        check_model(caller, plan.model.id)
        return understood

    def _read(self, asked: Asked, data: bytes | Form, policy: Policy, scope: str) -> Understood:
        request = self.parse(asked.dialect, data)
        if request.model is None and asked.model is not None:
            request = msgspec.structs.replace(request, model=asked.model)
        plan = self.translate(request, policy, scope)
        return Understood(
            plan=plan,
            adjusted=tuple(adjustment.field for adjustment in plan.adjustments),
            format=image_format(request, self.options.rules),
            usage=is_gpt_image(request.model),
            stream=request.stream,
            prompt_length=len(request.prompt),
            digest=hashlib.sha256(request.prompt.encode(errors="replace")).hexdigest()[:16],
        )
