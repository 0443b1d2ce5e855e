"""An order's place among the requests at once, given back to the limiter."""

from gateway.core.order import Order
from gateway.ports import Limiter


def release(limiter: Limiter, order: Order, slot: int | None = None) -> None:
    """Give the place back if nothing needs it any more: after the flight of a slot's picture, or after the order."""
    place = order.place
    if place is not None and (place.leave() if slot is None else place.land(slot)):
        limiter.release(order.outcome.request_id)
