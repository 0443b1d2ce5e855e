"""What an order took of the limits and does not need, given back to the limiter."""

from collections.abc import Sequence

from gateway.core.order import Order, Picture
from gateway.core.outcome import BYPASS, JOINED, MISS
from gateway.ports import Limiter


def land(limiter: Limiter, order: Order, slot: int) -> None:
    """A slot's picture is drawn, or will not be: give the place back if nothing needs it, and do not wait for that."""
    if order.place is not None and order.place.land(slot):
        limiter.release_soon(order.outcome.request_id)


async def release(limiter: Limiter, order: Order) -> None:
    """The order needs no place any more: give it back if no flight does; whoever is answered now may ask again."""
    if order.place is not None and order.place.leave():
        await limiter.release(order.outcome.request_id)


async def give_back(limiter: Limiter, order: Order, pictures: Sequence[Picture]) -> None:
    """Let those pictures count no longer that somebody else's call drew, which counts them.

    What was found in the cache never counted, though it may have been joined after all.
    """
    states = [picture.cache for picture in pictures]
    counted = len(order.plan.payloads) if order.found is None else order.found.count(None)
    drawn = states.count(MISS) + states.count(BYPASS)
    unused = min(states.count(JOINED), counted - drawn)
    if unused > 0:
        await limiter.give_back(order.caller, order.outcome.request_id, unused)
