"""An order's place among the requests at once, given back to the limiter."""

from gateway.core.order import Order
from gateway.ports import Limiter


def land(limiter: Limiter, order: Order, slot: int) -> None:
    """A slot's picture is drawn, or will not be: give the place back if nothing needs it, and do not wait for that."""
    if order.place is not None and order.place.land(slot):
        limiter.release_soon(order.outcome.request_id)


async def release(limiter: Limiter, order: Order) -> None:
    """The order needs no place any more: give it back if no flight does; whoever is answered now may ask again."""
    if order.place is not None and order.place.leave():
        await limiter.release(order.outcome.request_id)
