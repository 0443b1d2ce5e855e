"""Jobs: requests whose callers come back for the answer. What is kept of one, how it stands, and what is told of it.

A job's answer is kept as addresses of pictures; bytes are fetched when somebody asks for them.
"""

import hashlib
from datetime import UTC, datetime
from enum import Enum, StrEnum
from typing import Any, Final

import msgspec
import orjson

from gateway.core.errors import GatewayError
from gateway.core.order import NO_TOKENS, located
from gateway.core.repeats import Repeat
from gateway.core.request import Dialect
from gateway.core.translate import ImageFormat

KEPT_FOR: Final = 86_400.0
"""Seconds for which a job can be asked for, from when it was taken."""
PREFIX: Final = "job_"


class JobState(StrEnum):
    """Where a job is: nobody works on it yet, somebody does, it is answered."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """All that is needed to do a job again; the fields are those of `gateway.core.order.Asked`.

    `origin` begins the addresses in our own store, as its caller knows us.
    """

    body: bytes
    dialect: Dialect
    attempt: str
    model: str | None = None
    coercion: str | None = None
    look_up: bool = True
    keep: bool = True
    origin: str = ""


class Ended(Repeat, frozen=True, gc=False):
    """How a job ended: pictures, and the form in which they are answered, or an error."""

    format: ImageFormat = "url"
    usage: bool = False
    origin: str = ""


class Job(msgspec.Struct, frozen=True, gc=False):
    """A row of jobs. Times are seconds since 1970 by the database's clock.

    `key` is whose it is. `version` is the fence: who ends or adopts it must know it. `tries` counts how often its
    webhook was called, and `told` is when there was nobody left to tell. `wanted` is only there for who does it.
    """

    id: str
    key: str
    state: JobState
    version: int
    owner: str
    webhook: str | None
    tries: int
    told: float | None
    created: float
    finished: float | None
    ended: Ended | None = None
    wanted: Wanted | None = None


class Receipt(Enum):
    """What became of a message to a webhook: it was taken, nobody wants any, or it is to be sent again."""

    TAKEN = "taken"
    REFUSED = "refused"
    FAILED = "failed"


def failed(error: GatewayError) -> Ended:
    """A job that ended with an error."""
    return Ended(0, (), error.kind.row.code, error.message, error.param)


def name_of(key: str, name: str) -> str:
    """The id of the job that a key asked for under an Idempotency-Key: asked for again, it is the same job."""
    return PREFIX + hashlib.sha256(f"{key}\n{name}".encode()).hexdigest()[:32]


def describe(job: Job) -> dict[str, Any]:
    """What is told of a job, but for its answer."""
    told: dict[str, Any] = {
        "id": job.id,
        "object": "image.job",
        "status": job.state.value,
        "created_at": int(job.created),
        "expires_at": int(job.created + KEPT_FOR),
    }
    return told if job.finished is None else told | {"completed_at": int(job.finished)}


def announcement(job: Job) -> bytes:
    """What a webhook is told of a job that is done; the same bytes however often it is asked for."""
    at = datetime.fromtimestamp(job.finished or job.created, UTC).isoformat(timespec="milliseconds")
    data = describe(job)
    if (ended := job.ended) is not None:
        data |= _answer(ended)
    message = {"type": "image.job.done", "timestamp": at.replace("+00:00", "Z"), "data": data}
    return orjson.dumps(message)


def _answer(ended: Ended) -> dict[str, Any]:
    if (error := ended.error) is not None:
        return {"error": error.body}
    told: dict[str, Any] = {"created": ended.created}
    told["data"] = [{"url": located(url, ended.origin)} for url in ended.urls]
    return told | ({"usage": NO_TOKENS} if ended.usage else {})
