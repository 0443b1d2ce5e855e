"""Waiting for a task of 302's: asking how it stands costs nothing, so it is asked again whenever that fails."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.adapters.upstream.wire import Call, Wire
from gateway.core.errors import GatewayError, Kind
from gateway.core.reply import Reply, seconds
from gateway.core.task import is_id, read_task
from gateway.ports import Drawn

_PATH: Final = "/302/v2/image/fetch/{}"
_GROWTH: Final = 1.3
_JITTER: Final = 0.2
_BUSY: Final = 429
_REFUSED: Final = (401, 403, 404)
_LOST: Final = (
    "302.AI does not say what became of the picture; it may have been billed, so do not send it again at once."
)


@dataclass(frozen=True, slots=True)
class Polling:
    """How often a task is asked for, in seconds: first and longest pause; then how failures of asking are repeated."""

    first: float = 0.5
    longest: float = 3.0
    tries: int = 5
    back_off: float = 0.5
    longest_back_off: float = 8.0
    read_timeout: float = 30.0


class Tasks:
    """Waits for tasks. The deadline is the caller's to set."""

    def __init__(self, wire: Wire, polling: Polling) -> None:
        self._wire: Final = wire
        self._polling: Final = polling

    async def follow(self, task_id: str, keys: Sequence[tuple[str, str]], request_id: str = "") -> Drawn:
        """Wait for a task's picture; `keys` are (public id, secret), the task's own first.

        Raises:
            GatewayError: it failed, or 302 does not say any more what became of it.
        """
        if not is_id(task_id) or not keys:
            raise GatewayError(Kind.UPSTREAM_UNKNOWN, _LOST)
        pause, failures, turn = self._polling.first, 0, 0
        while True:
            await asyncio.sleep(pause * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - not a secret
            key_id, secret = keys[turn % len(keys)]
            reply = await self._ask(task_id, secret)
            try:
                found = read_task(reply)
            except ValueError:
                # A key that may not ask any more, or does not know the task, makes room for another.
                turn += reply.status in _REFUSED
                failures += reply.status != _BUSY
                if failures >= self._polling.tries:
                    raise _lost(key_id, request_id) from None
                pause = self._back_off(failures, reply)
                continue
            except GatewayError as error:
                error.upstream_key, error.upstream_request_id = key_id, error.upstream_request_id or request_id
                raise
            if found is not None:
                return Drawn(found.url, found.request_id or request_id, key_id, task_id)
            # After a failure the pauses of polling begin anew: the task may be done by now.
            pause = self._polling.first if failures else min(pause * _GROWTH, self._polling.longest)
            failures = 0

    async def _ask(self, task_id: str, secret: str) -> Reply:
        try:
            return await self._wire.exchange(
                Call("GET", _PATH.format(task_id), secret, timeout=self._polling.read_timeout)
            )
        except GatewayError:
            return Reply(0, b"")

    def _back_off(self, failures: int, reply: Reply) -> float:
        """Full jitter; a busy 302 is given what it asks for."""
        if reply.status == _BUSY:
            return max(self._polling.longest, seconds(reply.retry_after) or 0.0)
        longest = min(self._polling.back_off * 2.0**failures, self._polling.longest_back_off)
        return random.uniform(0, longest)  # noqa: S311 - not a secret


def _lost(key_id: str, request_id: str) -> GatewayError:
    error = GatewayError(Kind.UPSTREAM_UNKNOWN, _LOST)
    error.upstream_key, error.upstream_request_id = key_id, request_id
    return error
