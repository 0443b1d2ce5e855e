"""The end of a process: nothing new is paid for, and what is in flight lands, up to a deadline."""

from collections.abc import Sequence
from typing import Final, Protocol

from gateway.core.errors import GatewayError, Kind
from gateway.ports import Clock

# Who stops a service tells every process of it, and the parent tells its workers too.
_ONE_SIGNAL: Final = 3.0


class _Flight(Protocol):
    def done(self) -> bool: ...


class _Flights(Protocol):
    def under_way(self) -> Sequence[_Flight]: ...


class Drain:
    """Whether this process is ending, and whether it may.

    It goes on for at least `delay` seconds, in which load balancers learn of it, and at most `timeout` seconds; what is
    in flight then is left to others, by the ledger.
    """

    def __init__(self, flights: _Flights, clock: Clock, delay: float, timeout: float) -> None:
        self._flights: Final = flights
        self._clock: Final = clock
        self._delay: Final = delay
        self._timeout: Final = timeout
        self._since: float | None = None
        self._seen: Sequence[_Flight] = ()

    @property
    def draining(self) -> bool:
        """Whether it has begun."""
        return self._since is not None

    def refusal(self) -> GatewayError | None:
        """Why nothing new may be paid for; None where it may."""
        if not self.draining:
            return None
        return GatewayError(Kind.DRAINING, "The gateway is stopping; ask again, and another one draws.")

    def check(self) -> None:
        """Raise `draining` where nothing new may be paid for."""
        if (refusal := self.refusal()) is not None:
            raise refusal

    @property
    def left(self) -> float:
        """Seconds that flights still have."""
        return self._timeout if self._since is None else max(0.0, self._since + self._timeout - self._clock.monotonic())

    def begin(self) -> None:
        """Take on no more paid work; may be called by a signal's handler."""
        if self._since is None:
            self._since = self._clock.monotonic()
            self._seen = self._flights.under_way()

    def hurry(self) -> None:
        """Wait for nothing any more, unless it has only just begun: then it is the same signal by another way."""
        now = self._clock.monotonic()
        if self._since is None or now - self._since >= _ONE_SIGNAL:
            self._since = now - self._timeout

    def is_over(self) -> bool:
        """Whether the process may end; asked again and again.

        What begins in the meantime pays for nothing, and may never cease to come: it is refused at once, or joins what
        another process pays. So only those are waited for that were in flight the last time too.
        """
        if self._since is None:
            return False
        waited = self._clock.monotonic() - self._since
        has_landed = all(flight.done() for flight in self._seen)
        self._seen = self._flights.under_way()
        return waited >= self._timeout or (waited >= self._delay and has_landed)
