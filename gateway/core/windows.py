"""Limits of one worker by itself, for as long as Redis is away: each worker lets in its share of every limit.

Windows slide: what was let in counts until it is a window old, to the millisecond. Memory is bounded, and whoever fills
it makes the oldest window be forgotten: with Redis away it is better to let in too many than to fall over.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Final

from gateway.core.limits import CROWDED, WINDOW, Limit, Refusal, Verdict, standings_of
from gateway.core.standing import Standing

Named = tuple[str, Limit]
"""A limit, and the name under which its use is counted: callers that share the name share the limit."""

_MOST_ENTRIES: Final = 100_000
_UNREACHABLE: Final = float("inf")


class Windows:
    """What this worker let in by itself, and the places among requests at once that its requests hold."""

    def __init__(self, workers: int = 1, window: float = WINDOW, most_entries: int = _MOST_ENTRIES) -> None:
        self._workers: Final = max(1, workers)
        self._window: Final = window
        self._most_entries: Final = most_entries
        self._logs: Final[dict[str, dict[str, float]]] = {}
        self._entries = 0
        self._places: Final[dict[str, set[str]]] = {}
        self._holders: Final[dict[str, tuple[str, ...]]] = {}

    def __len__(self) -> int:
        return self._entries

    def admit(self, limits: Sequence[Named], images: int, request_id: str, now: float) -> Verdict:
        """Decide all limits together and take from all of them, or from none; `now` never goes back.

        The same request id again gets the same verdict and takes nothing.
        """
        for name, _ in limits:
            self._forget_lapsed(name, now)
        again = any(self._has(name, limit, request_id) for name, limit in limits)
        needs = [(name, limit, 0 if again else self._need(limit, images)) for name, limit in limits]
        waits = [(self._wait(name, limit, need, now), limit) for name, limit, need in needs]
        wait, longest = max(waits, key=lambda entry: entry[0], default=(0.0, None))
        if longest is not None and wait > 0:
            refusal = Refusal(longest, None if wait == _UNREACHABLE else wait)
            return Verdict(self._standings(limits, now), refusal)
        for name, limit, need in needs:
            if need and limit.measure != "concurrency":
                self._take(name, limit, request_id, need, now)
        places = tuple(name for name, limit, need in needs if need and limit.measure == "concurrency")
        if places:
            self.hold(places, request_id)
        self._make_room(now)
        return Verdict(self._standings(limits, now), leased=request_id in self._holders)

    def hold(self, places: tuple[str, ...], request_id: str) -> None:
        """A request holds a place under each of these names, wherever it was let in."""
        self._holders[request_id] = places
        for name in places:
            self._places.setdefault(name, set()).add(request_id)

    def holders(self) -> dict[tuple[str, ...], list[str]]:
        """The requests that hold places, by the names of these."""
        grouped: dict[tuple[str, ...], list[str]] = {}
        for request_id, places in self._holders.items():
            grouped.setdefault(places, []).append(request_id)
        return grouped

    def holds(self, request_id: str) -> bool:
        """Whether a request holds a place."""
        return request_id in self._holders

    def release(self, request_id: str) -> tuple[str, ...]:
        """Give a request's places back; their names, none where it holds none."""
        places = self._holders.pop(request_id, ())
        for name in places:
            holders = self._places[name]
            holders.discard(request_id)
            if not holders:
                del self._places[name]
        return places

    def give_back(self, names: Sequence[str], request_id: str, images: int) -> None:
        """Let as many images of a request count no longer."""
        for name in names:
            log = self._logs.get(name, {})
            prefix = f"{request_id}:"
            # The first image stays longest: by it the request is known again.
            for member in list(islice((member for member in reversed(log) if member.startswith(prefix)), images)):
                self._drop(name, log, member)

    def _need(self, limit: Limit, images: int) -> int:
        match limit.measure:
            case "requests":
                return 1
            case "images":
                # What the whole limit allows must fit into an empty share of it.
                return images if images > limit.most else min(images, self._share(limit))
            case "concurrency":
                return min(images, 1)

    def _share(self, limit: Limit) -> int:
        return max(min(1, limit.most), limit.most // self._workers)

    def _wait(self, name: str, limit: Limit, need: int, now: float) -> float:
        """Seconds until as many more fit; 0 where they do now."""
        if need > limit.most:
            return _UNREACHABLE
        over = self._used(name, limit) + need - self._share(limit)
        if need == 0 or over <= 0:
            return 0.0
        if limit.measure == "concurrency":
            return CROWDED
        leaves = next(islice(self._logs[name].values(), over - 1, None))
        return max(leaves + self._window - now, 0.001)

    def _used(self, name: str, limit: Limit) -> int:
        return len(self._places.get(name, ()) if limit.measure == "concurrency" else self._logs.get(name, ()))

    def _has(self, name: str, limit: Limit, request_id: str) -> bool:
        if limit.measure == "concurrency":
            return request_id in self._places.get(name, ())
        return (request_id if limit.measure == "requests" else f"{request_id}:0") in self._logs.get(name, ())

    def _take(self, name: str, limit: Limit, request_id: str, need: int, now: float) -> None:
        log = self._logs.setdefault(name, {})
        before = len(log)
        if limit.measure == "requests":
            log[request_id] = now
        else:
            log.update((f"{request_id}:{number}", now) for number in range(need))
        self._entries += len(log) - before

    def _drop(self, name: str, log: dict[str, float], member: str) -> None:
        del log[member]
        self._entries -= 1
        if not log:
            del self._logs[name]

    def _forget_lapsed(self, name: str, now: float) -> None:
        log = self._logs.get(name, {})
        while log:
            member, at = next(iter(log.items()))
            if at + self._window > now:
                return
            self._drop(name, log, member)

    def _make_room(self, now: float) -> None:
        if self._entries <= self._most_entries:
            return
        for name in list(self._logs):
            self._forget_lapsed(name, now)
        while self._entries > self._most_entries:
            self._entries -= len(self._logs.pop(next(iter(self._logs))))

    def _standings(self, limits: Sequence[Named], now: float) -> tuple[Standing, ...]:
        return standings_of(
            (limit, limit.most - self._share(limit) + self._used(name, limit), self._reset(name, now))
            for name, limit in limits
        )

    def _reset(self, name: str, now: float) -> float:
        log = self._logs.get(name)
        return max(0.0, log[next(reversed(log))] + self._window - now) if log else 0.0
