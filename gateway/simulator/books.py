"""The simulator's account: what is left of the money, what each call cost, and the list of calls that tests read.

Memory only, and bounded. Who may read it is `app`'s business.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from gateway.core.catalogue import MICRO
from gateway.simulator.bounded import Bounded
from gateway.simulator.wire import Json

RUNNING: Final = "running"
SUCCEEDED: Final = "succeeded"
REFUSED: Final = "refused"
_CALLS: Final = 1_000
_RECORDS: Final = 10_000
_LONGEST: Final = 10_000


@dataclass(slots=True)
class Call:
    """One call of the endpoint. `status` is None while it runs, and for ever when its answer was no HTTP answer.

    `cost` is in micro-USD. `key` is the end of the caller's key, enough to tell which of several was used.
    """

    request_id: str
    key: str
    began: float
    payload: object = None
    model: str | None = None
    status: int | None = None
    outcome: str = RUNNING
    cost: int = 0
    ended: float | None = None
    task_id: str | None = None

    def describe(self) -> Json:
        """The call as tests read it."""
        return {
            "request_id": self.request_id,
            "model": self.model,
            "payload": self.payload,
            "status": self.status,
            "outcome": self.outcome,
            "cost": self.cost / MICRO,
            "key": self.key,
            "task_id": self.task_id,
        }


def _records() -> Bounded[Call]:
    return Bounded(_RECORDS, _RECORDS, lambda _: 1)


@dataclass(slots=True)
class Books:
    """What is left in micro-USD, the newest thousand calls (oldest first), and the finished ones by request id."""

    left: int
    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=_CALLS))
    _finished: Bounded[Call] = field(default_factory=_records)

    def enter(self, call: Call) -> None:
        """List a call as soon as it arrives, so that a running one can be seen; a picture in it is cut short."""
        call.payload = _shortened(call.payload)
        self.calls.append(call)

    def settle(self, call: Call, outcome: str, ended: float, cost: int = 0) -> None:
        """Note how an accepted call ended, and take its price."""
        call.outcome, call.ended, call.cost = outcome, ended, cost
        self.left -= cost
        self._finished.put(call.request_id, call)

    def balance(self) -> str:
        """What is left, as 302 writes it: a decimal number in a string."""
        return f"{self.left / MICRO:.6f}"

    def record(self, request_id: str) -> Json | None:
        """What a finished call cost; None for a call that was refused, runs still, or is unknown."""
        call = self._finished.get(request_id)
        if call is None or call.ended is None:
            return None
        return {
            "cost": call.cost / MICRO,
            "input_token": 0,
            "output_token": 0,
            "model": call.model,
            "process_time": round(call.ended - call.began, 3),
        }


def _shortened(payload: object) -> object:
    if not isinstance(payload, dict):
        return payload
    return {
        name: f"{value[:100]}... ({len(value)} characters)" if _is_long(value) else value
        for name, value in payload.items()
    }


def _is_long(value: object) -> bool:
    return isinstance(value, str) and len(value) > _LONGEST
