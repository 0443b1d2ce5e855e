"""What the server and the front leave in a request's ASGI scope for those behind them."""

from typing import Final, Protocol

from starlette.types import Scope

from gateway.core.outcome import Outcome

OUTCOME: Final = "gateway.outcome"
"""The request's `Outcome`."""
HEADERS: Final = "gateway.headers"
"""Its headers by name; of repeated ones the last."""
GONE: Final = "gateway.gone"
"""Whether its client has hung up by now, as a function; absent under other servers than ours."""
FAST_PATH: Final = "gateway.fastpath"
"""The `FastPath` of the very same request, when it comes again; absent where there is none."""
DEPLOYMENT: Final = "gateway.deployment"
"""The model that an Azure path names; absent on all other paths."""
REQUEST: Final = "gateway.request"
"""A weak reference to what the server knows of the request (`Incoming`); only our own server puts it there."""
BODY: Final = "gateway.body"
"""In the message that starts an answer: all of its body. A server of ours that has sent both takes it out again."""


class Incoming(Protocol):
    """A request, as the server has it."""

    def whole_body(self, limit: int) -> bytes | None:
        """The body, without waiting for it; None where it is longer, has not all come yet, or was received before."""


def begin(scope: Scope, endpoint: str) -> Outcome:
    """Name the endpoint in the request's outcome."""
    outcome: Outcome = scope[OUTCOME]
    outcome.endpoint = endpoint
    return outcome
