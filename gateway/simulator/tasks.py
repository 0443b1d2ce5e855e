"""The tasks of 302's second API (V2): each runs by itself, whoever started it, and can be asked for later.

What a task costs, and how it fails, is decided by `app`; here is its life, and how it looks from outside.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any, Final
from uuid import UUID

from gateway.simulator.books import Call
from gateway.simulator.bounded import Bounded
from gateway.simulator.options import Failure
from gateway.simulator.wire import Json, moment

_TASKS: Final = 10_000
# Told of the task, and not of the call that began it.
IN_TASK: Final = frozenset(
    {
        Failure.AI_TIMEOUT,
        Failure.GENERATION_TIMEOUT,
        Failure.NO_PICTURE,
        Failure.EMPTY_URL,
        Failure.TASK_FAILED,
        Failure.DOUBAO_CODE,
        Failure.NSFW,
        Failure.HANG,
    }
)
_PROBLEMS: Final = {
    Failure.AI_TIMEOUT: ("upstream_timeout", "AI interface connection timeout"),
    Failure.GENERATION_TIMEOUT: ("timeout", "Generation timed out"),
    Failure.TASK_FAILED: ("upstream_error", "CUDA out of memory"),
    Failure.DOUBAO_CODE: ("upstream_error", "Pre Img Risk Not Pass"),
}


@dataclass(slots=True)
class Task:
    """One task; `url` is where its picture is, or would have been."""

    call: Call
    req: Json
    url: str
    failure: Failure | None = None
    ended: float | None = None

    def describe(self) -> Json:
        """The task as `GET /302/v2/image/fetch/{task_id}` tells it."""
        began = self.call.began
        told: Json = {"task_id": self.call.task_id, "model": self.call.model, "req": self.req, "task_type": "image"}
        told |= {"created_at": moment(began), "started_at": moment(began), "webhook": ""}
        if self.ended is None:
            return told | {"status": "processing", "updated_at": moment(began)}
        told |= {"updated_at": moment(self.ended), "execution_time": f"{self.ended - began:.3f}", "attempts": 1}
        told["ai302_cost_request_ids"] = [self.call.request_id] if self.call.cost else []
        if self.failure in _PROBLEMS:
            kind, message = _PROBLEMS[self.failure]
            error = {"error": kind, "message": message, "error_type": kind, "attempts": 1, "is_network_error": False}
            return told | {"status": "failed", "failed_at": moment(self.ended), "error": error}
        return told | {"status": "completed", "completed_at": moment(self.ended)} | self._picture()

    def _picture(self) -> Json:
        if self.failure is Failure.NO_PICTURE:
            return {}
        if self.failure is Failure.EMPTY_URL:
            return {"image_url": "", "image_urls": []}
        told: Json = {"image_url": self.url, "image_urls": [self.url]}
        if self.failure is Failure.NSFW:
            told["raw_response"] = {"images": [{"url": self.url}], "has_nsfw_concepts": [True]}
        return told


class Tasks:
    """The newest tasks by id, and those that run."""

    def __init__(self, lot: Random) -> None:
        self._lot = lot
        self._tasks: Bounded[Task] = Bounded(_TASKS, _TASKS, lambda _: 1)
        self._running: set[asyncio.Task[None]] = set()

    def start(self, task: Task, life: Coroutine[Any, Any, None]) -> str:
        """Keep a task and let it live, whatever becomes of the connection that it came over; its id."""
        task.call.task_id = task_id = str(UUID(int=self._lot.getrandbits(128), version=4))
        self._tasks.put(task_id, task)
        running = asyncio.get_running_loop().create_task(life)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return task_id

    def get(self, task_id: str) -> Task | None:
        """A task, if it is still known."""
        return self._tasks.get(task_id)
