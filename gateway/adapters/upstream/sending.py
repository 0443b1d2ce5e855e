"""The paid call: a key, one POST, and another one only where 302 took nothing.

A POST whose bytes may have left is never sent again here, whatever happened to it, unless 302 itself refused it. In
mode `sync` the answer holds the picture; in mode `task` it names a task, which `tasks` then waits for.
"""

import asyncio
import logging
import random
from dataclasses import dataclass, field
from typing import Final, Literal

from gateway.adapters.upstream.account import Account
from gateway.adapters.upstream.pool import KeyPool, Lease
from gateway.adapters.upstream.tasks import Polling, Tasks
from gateway.adapters.upstream.wire import Call, Wire
from gateway.core.catalogue import Model
from gateway.core.errors import GatewayError, Kind
from gateway.core.pool import RULES, Cause
from gateway.core.reply import Reply, read_answer
from gateway.core.task import read_submitted
from gateway.flights import Deadline
from gateway.ports import Drawn, Progress

_LOG: Final = logging.getLogger("gateway302.upstream")
_PATHS: Final = {"sync": "/302/image/generate", "task": "/302/v2/image/generate?run_async=true"}
_TIMED_OUT: Final = "302.AI did not answer in time; the picture may have been billed, so do not send it again at once."
_OVERLOADED: Final = "The gateway has too many calls to 302.AI in flight; nothing was sent."
# As in the AWS SDKs: a healthy 302 pays for its retries, an ailing one is not hammered with them.
_BUDGET: Final = 500
_RETRY_COSTS: Final = 5
# A pause that lets a restarting proxy come back, and a model find a channel.
_PAUSES: Final = {Kind.UPSTREAM_UNREACHABLE: (0.1, 0.3), Kind.UPSTREAM_MODEL_UNAVAILABLE: (0.2, 0.6)}


@dataclass(frozen=True, slots=True)
class UpstreamOptions:
    """How 302 is asked, and how long it may take; times in seconds."""

    mode: Literal["sync", "task"] = "sync"
    timeout: float = 280.0
    concurrency: int = 2000
    polling: Polling = field(default_factory=Polling)


@dataclass(slots=True)
class _Job:
    """One picture to be drawn, and how far that has come."""

    body: bytes
    model: Model
    known_model: bool
    progress: Progress
    tried: set[str] = field(default_factory=set)
    repeated: set[Kind] = field(default_factory=set)
    unsure: bool = False
    """Whether a POST may have left of which 302 has not said that it took nothing."""
    key_id: str = ""
    request_id: str = ""
    task_id: str = ""
    last: GatewayError | None = None
    """The refusal before."""


class Upstream302:
    """Draws pictures at 302."""

    def __init__(self, wire: Wire, keys: KeyPool, account: Account, options: UpstreamOptions) -> None:
        self._wire: Final = wire
        self._keys: Final = keys
        self._options: Final = options
        self._path: Final = _PATHS[options.mode]
        self._tasks: Final = Tasks(wire, options.polling)
        self._slots: Final = asyncio.Semaphore(options.concurrency)
        self._budget = _BUDGET
        self.bill: Final = account.bill

    async def send(self, body: bytes, model: Model, *, known_model: bool, progress: Progress) -> Drawn:
        """Have one picture drawn.

        Raises:
            GatewayError: of the kind that tells whether anything may have been billed.
        """
        job = _Job(body, model, known_model, progress)
        try:
            with Deadline(self._timeout(model)):
                async with self._slots:
                    return await self._draw(job)
        except TimeoutError:
            if not job.unsure:
                raise (job.last or GatewayError(Kind.OVERLOADED, _OVERLOADED)) from None
            error = GatewayError(Kind.UPSTREAM_TIMEOUT, _TIMED_OUT)
            error.upstream_key, error.upstream_request_id = job.key_id, job.request_id
            raise error from None

    async def resume(self, task_id: str, upstream_key_id: str, model: Model) -> Drawn:
        """Wait on for a task that was accepted before, with its key or, where that is gone, the others.

        Raises:
            GatewayError: as `send`, after the POST.
        """
        try:
            with Deadline(self._timeout(model)):
                return await self._tasks.follow(task_id, self._keys.secrets(upstream_key_id))
        except TimeoutError:
            raise GatewayError(Kind.UPSTREAM_TIMEOUT, _TIMED_OUT) from None

    def _timeout(self, model: Model) -> float:
        return min(model.timeout or self._options.timeout, self._options.timeout)

    async def _draw(self, job: _Job) -> Drawn:
        while True:
            lease = self._lend(job)
            try:
                drawn = await self._once(job, lease)
                self._keys.worked(lease)
                self._budget = min(self._budget + 1, _BUDGET)
                return drawn
            except GatewayError as error:
                pause = self._again(job, lease, error)
            finally:
                self._keys.give_back(lease)
            await asyncio.sleep(pause)

    def _lend(self, job: _Job) -> Lease:
        try:
            return self._keys.lend(job.model.id, job.tried)
        except GatewayError as none:
            last = job.last
            if last is None:
                raise
            if none.kind is not Kind.UPSTREAM_RATE_LIMITED:
                raise last from None
            # Of several complaints, that of a key which only wants to wait is what helps the caller.
            none.upstream_key, none.upstream_request_id, none.said = (
                last.upstream_key,
                last.upstream_request_id,
                last.said,
            )
            raise none from last

    async def _once(self, job: _Job, lease: Lease) -> Drawn:
        """One POST, and its answer."""
        await job.progress.sending(lease.id)
        job.unsure, job.key_id, job.request_id = True, lease.id, ""
        reply = await self._wire.exchange(
            Call("POST", self._path, lease.secret, job.body), lambda id_: _tell(job, lease.id, id_)
        )
        if self._options.mode == "sync":
            url = read_answer(reply, known_model=job.known_model)
            return Drawn(url, reply.request_id, lease.id)
        return await self._follow(job, lease, reply)

    async def _follow(self, job: _Job, lease: Lease, reply: Reply) -> Drawn:
        submitted = read_submitted(reply, known_model=job.known_model)
        if submitted.url:
            return Drawn(submitted.url, submitted.request_id, lease.id, submitted.task_id)
        job.task_id = submitted.task_id
        self._keys.worked(lease)
        await _tell(job, lease.id, reply.request_id)
        return await self._tasks.follow(job.task_id, self._keys.secrets(lease.id), reply.request_id)

    def _again(self, job: _Job, lease: Lease, error: GatewayError) -> float:
        """Seconds until the same picture may be asked for again; raises the error where it may not."""
        error.upstream_key = error.upstream_key or lease.id
        cause = self._keys.failed(lease, error)
        if error.outcome_unknown or job.task_id:
            raise error
        job.unsure, job.last = False, error
        if cause is not None and RULES[cause].moves:
            if cause is Cause.BUSY and not self._may_retry():
                raise error
            job.tried.add(lease.id)
            return 0.0
        if error.kind not in _PAUSES or error.kind in job.repeated or not self._may_retry():
            raise error
        job.repeated.add(error.kind)
        return random.uniform(*_PAUSES[error.kind])  # noqa: S311 - not a secret

    def _may_retry(self) -> bool:
        if self._budget < _RETRY_COSTS:
            return False
        self._budget -= _RETRY_COSTS
        return True


async def _tell(job: _Job, key_id: str, request_id: str) -> None:
    """Tell that 302 named the call; the picture is paid for, so nothing that goes wrong here may end it."""
    if not request_id and not job.task_id:
        return
    job.request_id = request_id
    try:
        await job.progress.accepted(key_id, request_id, job.task_id)
    except Exception:  # noqa: BLE001 - whatever it is, the picture is worth more
        _LOG.exception("what 302 accepted could not be written down")
