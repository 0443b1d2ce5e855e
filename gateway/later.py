"""Requests whose callers come back: what is promised is durable, and the pipeline does the rest without them."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from secrets import token_hex
from typing import Final, TypeVar

import msgspec

from gateway.core.entry import encode
from gateway.core.errors import GatewayError, Kind, internal_error
from gateway.core.held import Holding
from gateway.core.jobs import KEPT_FOR, PREFIX, Ended, Job, Wanted, name_of
from gateway.core.ledger import Bill
from gateway.core.order import Answer, Asked, Order, Picture, stays
from gateway.core.outcome import HIT, Outcome
from gateway.core.request import Dialect, Form
from gateway.core.webhooks import webhook_in
from gateway.flights import Audience, JobRuns, release, together
from gateway.pipeline import Gateway
from gateway.ports import DatabaseUnavailableError
from gateway.ports.jobs import Jobs
from gateway.understanding import body_of

T = TypeVar("T")

# What costs nothing may pass: a job waits so many seconds, again and again, where a request would be told to.
_PASSING: Final = frozenset({Kind.STORE_UNAVAILABLE, Kind.OVERLOADED})
_PAUSES: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
# How long what is kept already may take to be found, before its caller is told to come back for it.
_AT_ONCE: Final = 1.0
_PROMISED: Final = 200


@dataclass(frozen=True, slots=True)
class Asking:
    """A request that is understood and wants to be done later; `body` as it came."""

    order: Order
    body: bytes | Form
    origin: str
    name: str | None
    """The Idempotency-Key that it came with."""

    @property
    def unnamed(self) -> Order:
        """The order as it would have been without a job."""
        asked = msgspec.structs.replace(self.order.asked, attempt=self.name)
        return msgspec.structs.replace(self.order, asked=asked)

    @property
    def can_wait(self) -> bool:
        """Whether it can be done without its caller: a stream cannot, and forms are not kept."""
        return isinstance(self.body, bytes) and not self.order.stream


@dataclass(slots=True)
class Later:
    """Takes jobs, does them, and answers for them; a reload puts another gateway in."""

    gateway: Gateway
    jobs: Jobs
    runs: JobRuns
    webhook_hosts: Collection[str] = ()

    async def accept(self, secret: bytes | None, asked: Asked, outcome: Outcome, origin: str) -> Asking:
        """Take a request as far as it costs nothing; as `Gateway.accept`."""
        taken: list[bytes | Form] = []

        async def read() -> bytes | Form:
            taken.append(await body_of(asked))
            return taken[0]

        named = msgspec.structs.replace(asked, read=read, body=None, attempt=asked.attempt or PREFIX + token_hex(16))
        order = await self.gateway.accept(secret, named, outcome)
        # The body is kept until it is written down, and no longer.
        order = msgspec.structs.replace(order, asked=msgspec.structs.replace(named, read=asked.read))
        return Asking(order, taken[0], origin, asked.attempt)

    async def submit(self, asking: Asking) -> tuple[Job, Order]:
        """Promise to do it: once this returns, it is done whatever becomes of this process.

        Raises:
            GatewayError: `invalid_value` for its webhook, those of `Gateway.admit`, `draining`, `store_unavailable`,
                `client_closed_request`.
        """
        assert isinstance(asking.body, bytes)  # noqa: S101 - whoever submits has looked
        webhook = await asyncio.to_thread(webhook_in, asking.body, self.webhook_hosts)
        order = await self.gateway.admit(asking.order)
        try:
            job, is_new = await self._add(asking, order, webhook)
        except GatewayError:
            await release(self.gateway.limiter, order)
            raise
        if is_new:
            return await self._begin(job, order, asking.origin), order
        await release(self.gateway.limiter, order)
        return job, order

    async def check(self, order: Order) -> None:
        """Refuse an order that was admitted and would have to be drawn, where nothing new may be paid for.

        Raises:
            GatewayError: `draining`.
        """
        if not _is_kept(order) and self.gateway.drain.draining:
            await release(self.gateway.limiter, order)
            self.gateway.drain.check()

    async def find(self, secret: bytes | None, id_: str, outcome: Outcome) -> Job:
        """A job of whoever asks.

        Raises:
            GatewayError: of the key, `not_found`, `store_unavailable`.
        """
        caller = await self.gateway.authenticate(secret, outcome)
        try:
            job = await self.jobs.find(id_)
        except DatabaseUnavailableError:
            message = "The gateway's database is away, so that no job can be looked up; ask again."
            raise GatewayError(Kind.STORE_UNAVAILABLE, message) from None
        if job is None or job.key != caller.key:
            raise GatewayError(Kind.NOT_FOUND, "This API key has no job of this id; jobs are kept for a day.")
        return job

    async def answer(self, ended: Ended) -> tuple[Answer, Callable[[], None]]:
        """The pictures of a job that is done, with bytes where they were asked for, and what lets go of these.

        Raises:
            GatewayError: `image_unavailable`.
        """
        held = Holding()
        deadline = self.gateway.clock.monotonic() + self.gateway.options.answer_timeout

        async def picture(url: str) -> Picture:
            if ended.format == "url":
                return Picture(url, HIT)
            return Picture(url, HIT, data=held.add(await self.gateway.gallery.bytes_of(url, deadline)))

        try:
            pictures = await together([picture(url) for url in ended.urls])
        except BaseException:  # of several some may have come
            held.close()
            raise
        return Answer(ended.created, pictures, ended.format, ended.usage, ()), held.close

    async def again(self, job: Job) -> Ended:
        """Do a job of a worker that died: what it paid for is joined or found.

        It was let in when it was taken, so it is not counted again.
        """
        wanted = job.wanted or Wanted(b"", Dialect.GENERATIONS, job.id)
        outcome = Outcome(f"req_{token_hex(16)}", "POST")

        async def read() -> bytes:
            return wanted.body

        asked = Asked(
            read,
            wanted.dialect,
            wanted.model,
            coercion=wanted.coercion,
            look_up=wanted.look_up,
            keep=wanted.keep,
            attempt=wanted.attempt,
        )
        order = await _insist(lambda: self.gateway.accept(job.key, asked, outcome))
        if asked.look_up:
            looked, kept = self.gateway.clock.monotonic(), await self._kept(order)
            # Where there is nothing, the cache may be away.
            order = msgspec.structs.replace(order, found=kept if any(kept) else None, looked=looked)
        return await self._do(order, wanted.origin)

    async def watch(self) -> None:
        """Until cancelled: go on with what dead workers had promised."""
        await self.runs.watch(self.again)

    async def _add(self, asking: Asking, order: Order, webhook: str | None) -> tuple[Job, bool]:
        """Write the job down, unless nobody is there any more to be promised it; one with a name may be others' too."""
        audience = Audience()
        audience.add(asking.order.asked.gone)
        if asking.name is None:
            audience.check()
        job, is_new = await self._write(asking, order, webhook)
        if asking.name is None:
            try:
                audience.check()
            except GatewayError:
                await self.gateway.settling.errands.now_or_later(lambda: self.jobs.remove(job.id))
                raise
        return job, is_new

    async def _write(self, asking: Asking, order: Order, webhook: str | None) -> tuple[Job, bool]:
        assert isinstance(asking.body, bytes)  # noqa: S101 - whoever submits has looked
        if not _is_kept(order):
            self.gateway.drain.check()
        asked, attempt = order.asked, order.asked.attempt or ""
        id_ = attempt if asking.name is None else name_of(order.caller.key, asking.name)
        wanted = Wanted(
            asking.body, asked.dialect, attempt, asked.model, asked.coercion, asked.look_up, asked.keep, asking.origin
        )
        try:
            return await self.jobs.add(id_, order.caller.key, wanted, webhook)
        except DatabaseUnavailableError:
            self.gateway.settling.errands.insist(lambda: self.jobs.remove(id_))
            message = "The gateway's database is away, so that nothing can be promised; nothing was sent."
            raise GatewayError(Kind.STORE_UNAVAILABLE, message) from None

    async def _begin(self, job: Job, order: Order, origin: str) -> Job:
        run = self.runs.begin(job, lambda: self._do(order, origin))
        if not _is_kept(order):
            return job
        await asyncio.wait((run,), timeout=_AT_ONCE)
        return (run.result() if run.done() else None) or job

    async def _do(self, order: Order, origin: str) -> Ended:
        """Generate, as an outcome of its own; only addresses are wanted."""
        clock = self.gateway.clock
        outcome = msgspec.structs.replace(order.outcome, endpoint="job", code="ok", status=_PROMISED)
        started = clock.monotonic()
        # Nobody waits who could give up: the flights themselves are bounded.
        asked = msgspec.structs.replace(order.asked, gone=stays)
        alone = msgspec.structs.replace(order, asked=asked, format="url", deadline=started + KEPT_FOR, outcome=outcome)
        try:
            # Each try has a bill of its own: what was wanted before and not held is not wanted twice.
            answer = await _insist(lambda: self.gateway.generate(msgspec.structs.replace(alone, bill=Bill())))
        except Exception as error:
            kind = (error if isinstance(error, GatewayError) else internal_error()).kind
            outcome.code, outcome.status = kind.row.code, kind.row.status
            raise
        finally:
            outcome.ms = (clock.monotonic() - started) * 1000
            self.gateway.observer.request(outcome)
        urls = tuple(picture.url for picture in answer.pictures)
        return Ended(answer.created, urls, format=order.format, usage=order.usage, origin=origin)

    async def _kept(self, order: Order) -> list[bytes | None]:
        entries = await together([self.gateway.cache.recall(one.fingerprint) for one in order.plan.payloads])
        return [None if entry is None else encode(entry) for entry in entries]


async def _insist(work: Callable[[], Awaitable[T]]) -> T:
    for pause in _PAUSES:
        try:
            return await work()
        except GatewayError as error:
            if error.kind not in _PASSING:
                raise
        await asyncio.sleep(pause)
    return await work()


def _is_kept(order: Order) -> bool:
    """Whether an order that was admitted needs nothing but what is there."""
    return order.repeat is not None or (order.found is not None and None not in order.found)
