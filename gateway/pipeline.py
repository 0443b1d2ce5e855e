"""The picture: what happens to a request, step by step, in the order of the drawing in README.

The steps are verbs, and each decides through `gateway.core` and acts through a port. Nothing here knows HTTP, Redis or
Prometheus; what a caller gets to see of an answer is `gateway.web.render`'s part.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from os import urandom
from typing import Final

import msgspec

from gateway.callers import caller_of, identify
from gateway.core.catalogue import Catalogue
from gateway.core.coerce import Policy
from gateway.core.edits import parse_edit, parse_form
from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import Caller, Keyring, check_model, check_standing, policy_for
from gateway.core.ledger import Draft, id_of
from gateway.core.order import (
    Answer,
    Asked,
    Options,
    Order,
    Picture,
    Place,
    Understood,
    kept_picture,
    media_name,
    policy_of,
    scope_of,
)
from gateway.core.outcome import BYPASS, JOINED, MISS, Outcome
from gateway.core.request import Dialect, Form, ImageRequest, parse
from gateway.core.translate import Payload, Plan, describe, translate
from gateway.flights import (
    Audience,
    Drain,
    Flights,
    Flown,
    Gallery,
    PaidCall,
    Repeated,
    Settling,
    as_they_come,
    follow,
    give_back,
    land,
    release,
    together,
    told_again,
)
from gateway.ports import Cache, Clock, Directory, Drawn, EarlierError, Limiter, Observer, Upstream
from gateway.understanding import meaning, note, understand

_FAULT: Final = Kind.INTERNAL_ERROR.row.code  # of a call that neither drew nor said why


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Gateway:
    """The ports, wired, and the steps between them."""

    keyring: Keyring
    catalogue: Catalogue
    limiter: Limiter
    cache: Cache
    flights: Flights[Flown]
    upstream: Upstream
    gallery: Gallery
    settling: Settling
    repeated: Repeated
    drain: Drain
    observer: Observer
    clock: Clock
    options: Options
    directory: Directory | None = None

    async def accept(self, secret: bytes | str | None, asked: Asked, outcome: Outcome) -> Order:
        """Take a request as far as it costs nothing: who asks, for what, and what it becomes.

        Raises:
            GatewayError: any kind of the caller's own making; `outcome` is filled as far as the request came.
        """
        started = self.clock.monotonic()
        caller = await self.authenticate(secret, outcome)
        policy = policy_of(asked.coercion, policy_for(caller, self.options.policy))
        body = await understand(asked, policy, scope_of(self.options.cache_scope, caller), self._read)
        note(body, outcome)
        check_model(caller, body.plan.model.id)
        longest = self.options.answer_timeout
        wait = longest if body.stream else min(longest, asked.patience or longest)
        return Order(caller, body.plan, body.format, body.usage, body.stream, asked, started + wait, outcome)

    async def generate(self, order: Order) -> Answer:
        """Have all pictures drawn, together, for an order that was admitted.

        Raises:
            GatewayError: of the first picture that failed.
        """
        try:
            kept = [await self.recall(order, slot) for slot in range(len(order.plan.payloads))]
            missing = [slot for slot, picture in enumerate(kept) if picture is None]
            drawn = await together([self.join(order, slot) for slot in missing]) if missing else []
        except GatewayError as error:
            await self.repeated.failed(order, error)
            raise
        finally:
            await release(self.limiter, order)
        if drawn:
            await give_back(self.limiter, order, drawn)
        pictures = [picture or drawn.pop(0) for picture in kept]
        order.outcome.note([picture.cache for picture in pictures])
        if order.asked.attempt is not None:
            await self.repeated.drew(order, pictures)
        return await self.respond(order, pictures)

    async def each(self, order: Order) -> AsyncIterator[Picture | None]:
        """Have all pictures drawn, and yield each with its bytes as it comes; None whenever there was long silence.

        Raises:
            GatewayError: of the first picture that failed.
        """
        pictures: list[Picture] = []
        work = [self._with_bytes(order, slot) for slot in range(len(order.plan.payloads))]
        try:
            async for picture in as_they_come(work, self.options.heartbeat):
                if picture is not None:
                    pictures.append(picture)
                yield picture
        except GatewayError as error:
            await self.repeated.failed(order, error)
            raise
        finally:
            await release(self.limiter, order)
            if pictures:
                order.outcome.note([picture.cache for picture in pictures])
                await give_back(self.limiter, order, pictures)
        await self.repeated.drew(order, pictures)

    async def plan(self, order: Order) -> dict[str, object]:
        """Tell what a generation would become; nothing is spent."""
        found = await together([self.cache.recall(payload.fingerprint) for payload in order.plan.payloads])
        return describe(order.plan, [entry is not None and await self.gallery.has(entry.url) for entry in found])

    async def authenticate(self, secret: bytes | str | None, outcome: Outcome) -> Caller:
        """Key → Caller; a str is the id of a key whose secret was told before."""
        caller = caller_of(self.keyring, self.directory, secret) or await identify(self.keyring, self.directory, secret)
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

    async def admit(self, order: Order) -> Order:
        """Rate windows and places, in one step, which looks for kept pictures on its way; a repeat had both before."""
        if order.asked.attempt is not None and (repeat := await self.repeated.claim(order)) is not None:
            return msgspec.structs.replace(order, repeat=repeat)
        payloads, name = order.plan.payloads, self.cache.name
        names = [name(payload.fingerprint) for payload in payloads] if order.asked.look_up else None
        looked = self.clock.monotonic()
        admission = await self.limiter.admit(order.caller, order.outcome.request_id, len(payloads), names)
        place, found = Place(len(payloads)) if admission.leased else None, admission.found
        return msgspec.structs.replace(order, standings=admission.standings, found=found, looked=looked, place=place)

    async def recall(self, order: Order, slot: int) -> Picture | None:
        """Look for a kept picture in what was found."""
        if order.repeat is not None:
            return told_again(order.repeat)[slot]
        if order.found is None:
            return None
        fingerprint = order.plan.payloads[slot].fingerprint
        found = self.cache.read(fingerprint, order.found[slot])
        if found is None or (media_name(found.url) is not None and not await self.gallery.has(found.url)):
            return None
        # What this process is taking into our store is joined, and told by its address there.
        joins = self.gallery.takes_in(found.url) and self.flights.is_under_way(fingerprint)
        return None if joins else kept_picture(found, self.clock.now())

    async def join(self, order: Order, slot: int) -> Picture:
        """Share the flight of this fingerprint, or begin it; whoever asked for a fresh picture flies alone."""
        payload = order.plan.payloads[slot]
        fresh = not order.asked.look_up
        # A fresh picture is for its caller alone, who may have given up waiting and come back for it.
        own = f"{order.caller.key}:{payload.fingerprint}"
        key = own if fresh else payload.fingerprint
        alone = fresh and not order.asked.is_retry
        patience, work = max(0.0, order.deadline - self.clock.monotonic()), partial(self._fly, order, slot)
        try:
            landed = await self.flights.join(key, work, patience, fresh=alone, own=own, gone=order.asked.gone)
        except TimeoutError:
            message = "The picture is still being drawn; ask again and you join it."
            raise GatewayError(Kind.STILL_RUNNING, message) from None
        joined = landed.joined or landed.value.joined
        state = JOINED if joined else BYPASS if fresh else MISS
        return Picture(landed.value.url, state, stored=landed.value.stored)

    def reserve(self, order: Order, slot: int, audience: Audience, newer_than: float | None = None) -> PaidCall:
        """Draft the ledger's row; it is committed, with the hold on the budgets, before the first byte can leave."""
        draft_id, payload = id_of(self.clock.now(), urandom(10)), order.plan.payloads[slot]
        order.bill.want(order.plan.model.price)
        draft = Draft(
            id=draft_id,
            flight=payload.fingerprint if order.asked.look_up else draft_id,
            fingerprint=payload.fingerprint,
            caller=order.caller,
            model=order.outcome.model,
            reserved=order.plan.model.price,
            ttl=self.options.picture_ttl if order.asked.keep else 0,
            bill=order.bill,
            attempt=order.attempt(slot),
            is_retry=order.asked.is_retry,
            looked=order.looked,
            saw=order.found is not None,
            lag=self.gallery.lag,
            newer_than=newer_than,
            refusal=self.drain.refusal(),
        )
        return PaidCall(self.settling.ledger, self.settling.errands, draft, audience)

    async def send(self, order: Order, payload: Payload, call: PaidCall) -> Drawn:
        """POST to 302.AI, outside of the client's connection."""
        started, plan = self.clock.monotonic(), order.plan
        code, request_id = _FAULT, ""
        try:
            drawn = await self.upstream.send(payload.body, plan.model, known_model=plan.known, progress=call)
            code, request_id = "ok", drawn.request_id
        except GatewayError as error:
            code, request_id = error.kind.row.code, error.upstream_request_id
            raise
        finally:
            if call.row is not None:
                self.observer.upstream(order.outcome.model, code, self.clock.monotonic() - started)
            order.outcome.upstream_request_ids += (request_id,) if request_id else ()
        return drawn

    async def settle(self, order: Order, slot: int, call: PaidCall, result: Drawn | GatewayError) -> Flown:
        """Ledger, budgets, cache, and those who wait elsewhere; raises the error that it was given."""
        if isinstance(result, GatewayError):
            await self.settling.failed(call, result)
            raise result
        land(self.limiter, order, slot)  # what follows takes no place at 302
        return await self.settling.landed(call, result)

    async def materialize(self, order: Order, picture: Picture) -> Picture:
        """Fetch the bytes of a picture."""
        data = order.held.add(await self.gallery.bytes_of(picture.url, order.deadline))
        return msgspec.structs.replace(picture, data=data)

    async def respond(self, order: Order, pictures: list[Picture]) -> Answer:
        """Pictures → Answer, with bytes where they were asked for."""
        if order.format != "url":
            pictures = await together([self.materialize(order, picture) for picture in pictures])
        created = int(self.clock.now()) if order.repeat is None else order.repeat.created
        plan = order.plan
        return Answer(created, pictures, order.format, order.usage, plan.adjustments, order.standings, order.replayed)

    async def _with_bytes(self, order: Order, slot: int) -> Picture:
        picture = await self.recall(order, slot) or await self.join(order, slot)
        return await self.materialize(order, picture)

    async def _fly(self, order: Order, slot: int, audience: Audience) -> Flown:
        if order.place is not None:
            order.place.take_off(slot)
        try:
            return await self._pay(order, slot, audience)
        finally:
            land(self.limiter, order, slot)

    async def _pay(self, order: Order, slot: int, audience: Audience, newer_than: float | None = None) -> Flown:
        call = self.reserve(order, slot, audience, newer_than)
        try:
            result: Drawn | GatewayError = await self.send(order, order.plan.payloads[slot], call)
        except EarlierError as earlier:
            row = earlier.row
            if (url := row.drawn) is not None and not await self.gallery.has(url):  # as in `recall`, that is a miss
                return await self._pay(order, slot, audience, row.created)
            flown = await follow(self.settling.ledger, self.settling.wakeups, row)
            return flown or await self._pay(order, slot, audience, newer_than)
        except GatewayError as error:
            result = error
        except Exception:
            await self.settling.broke(call)
            raise
        return await self.settle(order, slot, call, result)

    def _read(self, asked: Asked, data: bytes | Form, policy: Policy, scope: str) -> Understood:
        request = self.parse(asked.dialect, data)
        if asked.model is not None:
            request = msgspec.structs.replace(request, model=asked.model)
        return meaning(request, self.translate(request, policy, scope), self.options.rules)
