"""What the server and the front leave in a request's ASGI scope for those behind them."""

from typing import Final

from starlette.types import Scope

from gateway.core.outcome import Outcome

OUTCOME: Final = "gateway.outcome"
"""The request's `Outcome`."""
HEADERS: Final = "gateway.headers"
"""Its headers by name; of repeated ones the last."""
GONE: Final = "gateway.gone"
"""Whether its client is known to have hung up, as a function; absent under other servers than ours."""
DEPLOYMENT: Final = "gateway.deployment"
"""The model that an Azure path names; absent on all other paths."""
WHOLE_BODY: Final = "gateway.whole_body"
"""How to get the request's body without waiting: a function that returns None where it has not all come yet.

Only our own server puts it there.
"""
BODY_FOLLOWS: Final = "gateway.body_follows"
"""In the message that starts an answer: its body is sent next, without waiting for anything."""


def begin(scope: Scope, endpoint: str) -> Outcome:
    """Name the endpoint in the request's outcome."""
    outcome: Outcome = scope[OUTCOME]
    outcome.endpoint = endpoint
    return outcome
