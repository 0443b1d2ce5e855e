"""The paid call's life: it belongs to the engine, not to the client that began it."""

from gateway.flights.deadline import Deadline
from gateway.flights.flights import Flights
from gateway.flights.together import hear, together

__all__ = ["Deadline", "Flights", "hear", "together"]
