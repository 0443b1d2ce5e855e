"""What a body means, worked out: large ones off the event loop."""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Final

from gateway.core.coerce import Policy
from gateway.core.order import Asked, Understood
from gateway.core.outcome import Outcome
from gateway.core.request import Form, ImageRequest
from gateway.core.translate import Plan, Rules, image_format, is_gpt_image

# Bodies above this many bytes carry pictures; decoding and hashing them would hold up every other request of the
# worker.
_LARGE: Final = 256 * 1024

Read = Callable[[Asked, bytes | Form, Policy, str], Understood]


async def understand(asked: Asked, policy: Policy, scope: str, read: Read) -> Understood:
    """Take in a body and have it read."""
    data = await body_of(asked)
    if isinstance(data, Form) or len(data) > _LARGE:
        return await asyncio.to_thread(read, asked, data, policy, scope)
    return read(asked, data, policy, scope)


async def body_of(asked: Asked) -> bytes | Form:
    """The body, read where it is not there yet."""
    return await asked.read() if asked.body is None else asked.body


def meaning(request: ImageRequest, plan: Plan, rules: Rules) -> Understood:
    """What is needed of a request: its plan, and how it is to be answered and logged."""
    return Understood(
        plan=plan,
        adjusted=tuple([adjustment.field for adjustment in plan.adjustments]),
        format=image_format(request, rules),
        usage=is_gpt_image(request.model),
        stream=request.stream,
        prompt_length=len(request.prompt),
        digest=hashlib.sha256(request.prompt.encode(errors="replace")).hexdigest()[:16],
    )


def note(understood: Understood, outcome: Outcome) -> None:
    """Tell the request's record what it is about."""
    plan = understood.plan
    outcome.prompt_length, outcome.prompt_sha256 = understood.prompt_length, understood.digest
    outcome.model = plan.model.id if plan.known else "other"
    outcome.micro_usd, outcome.adjusted = plan.model.price, understood.adjusted
