"""Orders to the simulator, written into a prompt: `[[fail:rate-limited]]`, `[[fail:quota@two]]` and `[[delay:2.5]]`.

PURE. So that a test or a demonstration can make one call fail, or take its time, through any number of gateways: the
prompt is what reaches the upstream unchanged. After an `@` stands the end of a key: the call fails on that key only. An
order that nobody understands is refused, or a misspelt test would pass.
"""

import re
from dataclasses import dataclass
from typing import Final

from gateway.simulator.fields import Refusal
from gateway.simulator.options import Failure
from gateway.simulator.wire import Code

_ORDER: Final = re.compile(r"\[\[(fail|delay):([^\]]*)\]\]")
_SECONDS: Final = re.compile(r"[0-9]{1,4}(\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Orders:
    """What a prompt asks of its own call; None where it asks nothing and the options decide."""

    failure: Failure | None = None
    delay: float | None = None
    of_keys: tuple[tuple[str, Failure], ...] = ()

    def failure_of(self, key: str) -> Failure | None:
        """How a call with this key fails: what is said of the key, else what is said of all."""
        said = [failure for ending, failure in self.of_keys if key.endswith(ending)]
        return said[-1] if said else self.failure


def read(prompt: str) -> Orders | Refusal:
    """Find the orders in a prompt; of several of a kind the last counts."""
    failure: Failure | None = None
    delay: float | None = None
    of_keys: list[tuple[str, Failure]] = []
    for kind, value in _ORDER.findall(prompt):
        if kind == "delay":
            if not _SECONDS.fullmatch(value):
                return Refusal(400, Code.INVALID_REQUEST, "write [[delay:2.5]], in seconds, less than 10000")
            delay = float(value)
        else:
            name, _, ending = value.partition("@")
            if name not in list(Failure):
                return Refusal(400, Code.INVALID_REQUEST, f"[[fail:...]] takes one of {', '.join(Failure)}")
            if ending:
                of_keys.append((ending, Failure(name)))
            else:
                failure = Failure(name)
    return Orders(failure, delay, tuple(of_keys))
