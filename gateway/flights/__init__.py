"""The paid call's life: it belongs to the engine, not to the client that began it."""

from gateway.flights.audience import Audience
from gateway.flights.deadline import Deadline
from gateway.flights.drain import Drain
from gateway.flights.errands import Errands
from gateway.flights.flights import Flights
from gateway.flights.gallery import Gallery
from gateway.flights.jobs import JobRuns
from gateway.flights.paid import PaidCall, follow
from gateway.flights.places import give_back, land, release
from gateway.flights.recovery import Recovery
from gateway.flights.repeated import Repeated, told_again
from gateway.flights.settling import Flown, Settling
from gateway.flights.together import as_they_come, hear, together

__all__ = [
    "Audience",
    "Deadline",
    "Drain",
    "Errands",
    "Flights",
    "Flown",
    "Gallery",
    "JobRuns",
    "PaidCall",
    "Recovery",
    "Repeated",
    "Settling",
    "as_they_come",
    "follow",
    "give_back",
    "hear",
    "land",
    "release",
    "together",
    "told_again",
]
