"""Tells metrics, log and usage what happened. Whatever they do, no request fails of it."""

import sys
from collections.abc import Callable
from typing import Final, ParamSpec, Protocol

from gateway.core.keys import Caller
from gateway.core.outcome import Outcome

P = ParamSpec("P")


class _Metrics(Protocol):
    def request(self, outcome: Outcome) -> None: ...
    def upstream(self, model: str, code: str, seconds: float) -> None: ...
    def paid(self, caller: Caller, model: str, micro_usd: int) -> None: ...
    def flights(self, change: int) -> None: ...
    def upstream_key(self, key: str, healthy: bool) -> None: ...  # noqa: FBT001 - as it stands in the label and its value
    def limited(self, team: str, limit: str) -> None: ...
    def dependency_error(self, dependency: str) -> None: ...


class _Log(Protocol):
    def request(self, outcome: Outcome) -> None: ...
    def fault(self, where: str, error: BaseException) -> None: ...


class _Usage(Protocol):
    def request(self, outcome: Outcome) -> None: ...


class Observation:
    """The observer that the gateway is given."""

    def __init__(self, metrics: _Metrics, log: _Log, usage: _Usage | None = None) -> None:
        self._metrics: Final = metrics
        self._log: Final = log
        self._hear: Final = metrics.request, log.request, *([] if usage is None else [usage.request])

    def request(self, outcome: Outcome) -> None:
        """A request is over."""
        for hear in self._hear:
            try:
                hear(outcome)
            except Exception as error:  # noqa: BLE001 - as in `_try`, without what a call of it costs each time
                _complain(error)

    def upstream(self, model: str, code: str, seconds: float) -> None:
        """A call to 302 is over."""
        _try(self._metrics.upstream, model, code, seconds)

    def paid(self, caller: Caller, model: str, micro_usd: int) -> None:
        """A call was paid for by this caller."""
        _try(self._metrics.paid, caller, model, micro_usd)

    def flights(self, change: int) -> None:
        """A flight began or landed."""
        _try(self._metrics.flights, change)

    def upstream_key(self, key: str, healthy: bool) -> None:  # noqa: FBT001 - as the pool tells it
        """Whether a key of 302, named by its public id, can be used."""
        _try(self._metrics.upstream_key, key, healthy)

    def limited(self, team: str, limit: str) -> None:
        """A limit refused a request."""
        _try(self._metrics.limited, team, limit)

    def dependency_error(self, dependency: str) -> None:
        """Something we lean on failed us."""
        _try(self._metrics.dependency_error, dependency)

    def fault(self, where: str, error: BaseException) -> None:
        """A fault of ours, outside of any request."""
        _try(self._log.fault, where, error)


def _try(tell: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    try:
        tell(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - observing must never fail a request
        _complain(error)


def _complain(error: Exception) -> None:
    print(f"gateway302: observing failed: {error!r}", file=sys.stderr)  # noqa: T201 - the log itself may be broken
