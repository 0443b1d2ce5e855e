"""Every Prometheus collector of the gateway, and the scrape.

Labels come from closed sets only: ids of the catalogue, names of keys, codes of errors. Children are looked up once
and kept, for `labels()` costs more than counting. A worker that is alone counts some at a time, for counting each by
itself costs several microseconds; a scrape sees all of them.
"""

import asyncio
import contextlib
import threading
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.core.catalogue import MICRO
from gateway.core.keys import Caller
from gateway.core.outcome import HIT, JOINED, Outcome

# What prometheus_client reads when it is imported, so it must be set before a worker starts.
MULTIPROCESS_DIR: Final = "PROMETHEUS_MULTIPROC_DIR"
# Seconds after which what is over is counted at the latest.
_FLUSH_EVERY: Final = 0.1
# Upper bounds of the buckets; a call to 302 may take minutes.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)

_REQUEST_SECONDS: Final = "From the request's head to the answer's end."
_RELOADED: Final = "Whether the newest reload took effect everywhere."
_JOINED: Final = JOINED.word
_SPARED: Final = (HIT.word, _JOINED)

_Mode = Literal["livesum", "livemin"]
_C = TypeVar("_C", bound=MetricWrapperBase)


class Metrics:
    """The collectors, on a registry that is handed in."""

    def __init__(self, registry: CollectorRegistry, workers_dir: Path | None = None) -> None:
        """`workers_dir` is where prometheus_client keeps the numbers of all workers, when there are several."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a third of all lines; nothing asks for them
        self._registry: Final = registry
        self._workers_dir: Final = workers_dir

        def counter(name: str, help_: str, *labels: str) -> Counter:
            return Counter(f"gateway_{name}", help_, labels, registry=registry)

        def histogram(name: str, help_: str, *labels: str) -> Histogram:
            return Histogram(f"gateway_{name}", help_, labels, registry=registry, buckets=_SECONDS)

        def child(name: str, help_: str, *labels: str) -> Callable[..., Counter]:
            return _children(counter(name, help_, *labels))

        self._requests = child("requests", "Requests answered.", "endpoint", "model", "team", "code")
        self._adjustments = child("adjustments", "Values that were changed for a model.", "model", "field")
        self._upstream = child("upstream_requests", "Calls to 302.AI.", "model", "outcome")
        self._cost = child("cost_usd", "What was paid to 302.AI, by its price table.", "model", "team")
        self._limited = child("limited", "Requests refused by a limit.", "team", "limit")
        self._dependencies = child("dependency_errors", "Failures of what the gateway leans on.", "dependency")
        self._seconds = _children(histogram("request_seconds", _REQUEST_SECONDS, "endpoint", "cache"))
        self._upstream_seconds = _children(histogram("upstream_seconds", "What a call to 302.AI took.", "model"))
        self._pictures = _pictures(
            images=counter("images", "Pictures answered.", "model", "team", "cache"),
            joined=counter("flights_joined", "Pictures that came from a call somebody else had begun."),
            saved=counter("saved_usd", "What cache and joining spared.", "model", "team"),
        )
        self._flights = _gauge(registry, "flights_in_progress", "Calls to 302.AI that are under way.", "livesum")
        # The workers tell each other how a key stands; until all have heard it, the one that saw it struck is right.
        keys = _gauge(
            registry, "upstream_key_healthy", "Whether a key of 302.AI can be used: 1 or 0.", "livemin", "key"
        )
        self._keys = _children(keys)
        self._reloaded = _gauge(registry, "config_last_reload_successful", _RELOADED, "livemin")
        self._over: dict[_Alike, list[float]] = {}
        self._calls: dict[tuple[str, str], list[float]] = {}
        self._paid: dict[tuple[str, str], int] = {}
        self._under_way = 0
        self._counting: Final = threading.Lock()
        self._noting: Final = threading.Lock()
        self.reloaded(successful=True)

    def reloaded(self, *, successful: bool) -> None:
        """Tell whether the newest reload took effect."""
        self._reloaded.set(successful)

    def request(self, outcome: Outcome) -> None:
        """Count a request that is over: with the others of this moment, unless another worker may be asked for it."""
        words = outcome.endpoint, outcome.model, outcome.team, outcome.code
        alike = words, outcome.cache, outcome.adjusted, outcome.states, outcome.micro_usd
        with self._noting:
            self._over.setdefault(alike, []).append(outcome.ms / 1000)
        self._count_at_once()

    async def keep_counting(self) -> None:
        """Count what is over, again and again; and once more when it is cancelled."""
        try:
            while True:
                await asyncio.sleep(_FLUSH_EVERY)
                with contextlib.suppress(OSError):  # a full disk, where several workers share their numbers
                    self.count()
        finally:
            self.count()

    def count(self) -> None:
        """Count requests and calls that are over and what was paid; any thread may call it."""
        with self._counting:  # a scrape waits for what another thread has taken and not counted yet
            with self._noting:
                over, self._over = self._over, {}
                calls, self._calls = self._calls, {}
                paid, self._paid = self._paid, {}
            for kind, seconds in over.items():
                self._count(kind, seconds)
            for (model, code), seconds in calls.items():
                self._upstream(model, code).inc(len(seconds))
                _observe(self._upstream_seconds(model), seconds)
            for (model, team), micro_usd in paid.items():
                self._cost(model, team).inc(micro_usd / MICRO)
            self._flights.set(self._under_way)

    def _count_at_once(self) -> None:
        """Where another worker may be asked for it."""
        if self._workers_dir is not None:
            self.count()

    def _count(self, kind: "_Alike", seconds: list[float]) -> None:
        words, cached, adjusted, states, micro_usd = kind
        endpoint, model, team, _ = words
        self._requests(*words).inc(len(seconds))
        _observe(self._seconds(endpoint, cached), seconds)
        for field in adjusted:
            self._adjustments(model, field).inc(len(seconds))
        for state in states:
            images, joined, saved = self._pictures(model, team, state)
            images.inc(len(seconds))
            if joined is not None:
                joined.inc(len(seconds))
            if saved is not None:
                saved.inc(micro_usd / MICRO * len(seconds))

    def upstream(self, model: str, code: str, seconds: float) -> None:
        """Count a call to 302 that is over."""
        with self._noting:
            self._calls.setdefault((model, code), []).append(seconds)
        self._count_at_once()

    def paid(self, caller: Caller, model: str, micro_usd: int) -> None:
        """Count what was paid."""
        with self._noting:
            self._paid[model, caller.team] = self._paid.get((model, caller.team), 0) + micro_usd
        self._count_at_once()

    def flights(self, change: int) -> None:
        """Count calls under way."""
        self._under_way += change
        self._count_at_once()

    def upstream_key(self, key: str, healthy: bool) -> None:  # noqa: FBT001 - the gauge's value
        """Note whether a key can be used; `key` is its public id."""
        self._keys(key).set(healthy)

    def limited(self, team: str, limit: str) -> None:
        """Count a request that a limit refused."""
        self._limited(team, limit).inc()

    def dependency_error(self, dependency: str) -> None:
        """Count a failure of something we lean on."""
        self._dependencies(dependency).inc()

    def scrape(self) -> bytes:
        """Write the text format, of all workers together where there are several.

        Slow with many series: call it off the event loop.
        """
        self.count()
        if self._workers_dir is None:
            return generate_latest(self._registry)
        forget_dead_workers(self._workers_dir)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self._workers_dir))  # type: ignore[no-untyped-call]  # the library leaves it untyped
        return generate_latest(registry)


_Alike = tuple[tuple[str, str, str, str], str, tuple[str, ...], tuple[str, ...], int]
"""Of requests that differ in nothing but their time: their labels, how they were come by, and what an image costs."""
_Counted = tuple[Counter, Counter | None, Counter | None]


def _gauge(registry: CollectorRegistry, name: str, help_: str, mode: _Mode, *labels: str) -> Gauge:
    return Gauge(f"gateway_{name}", help_, labels, registry=registry, multiprocess_mode=mode)


def _observe(histogram: Histogram, seconds: Iterable[float]) -> None:
    """Observe many at once, which prometheus_client has no way for."""
    total = 0.0
    buckets: Tally[int] = Tally()
    for one in seconds:
        total += one
        buckets[bisect_left(_SECONDS, one)] += 1
    histogram._sum.inc(total)  # noqa: SLF001 - as its `observe` does, for each
    for index, count in buckets.items():
        histogram._buckets[index].inc(count)  # noqa: SLF001


def _pictures(*, images: Counter, joined: Counter, saved: Counter) -> Callable[[str, str, str], _Counted]:
    """What a picture counts in: always as an image, as joined, as money spared."""

    @cache
    def counters(model: str, team: str, state: str) -> _Counted:
        return (
            images.labels(model, team, state),
            joined if state == _JOINED else None,
            saved.labels(model, team) if state in _SPARED else None,
        )

    return counters


def forget_dead_workers(directory: Path) -> None:
    """Remove the gauges of workers that are gone: what was under way there is not. Their counters stay."""
    for path in directory.glob("gauge_live*_*.db"):
        pid = path.stem.rpartition("_")[2]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            path.unlink(missing_ok=True)


def _children(metric: _C) -> Callable[..., _C]:
    """Keep the child of each tuple of label values."""

    @cache
    def child(*values: str) -> _C:
        return metric.labels(*values)

    return child
