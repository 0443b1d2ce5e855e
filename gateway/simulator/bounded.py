"""A memory that forgets its oldest: everything the simulator keeps is kept in one of these.

Knows nothing of what it holds; not for use from several threads.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

_V = TypeVar("_V")


class Bounded(Generic[_V]):
    """The newest values by id: at most `count` of them, and together at most `weight`, as `weigh` measures one."""

    def __init__(self, count: int, weight: int, weigh: Callable[[_V], int]) -> None:
        self._values: OrderedDict[str, _V] = OrderedDict()
        self._count = count
        self._weight = weight
        self._weigh = weigh
        self._total = 0

    def __len__(self) -> int:
        return len(self._values)

    def put(self, id_: str, value: _V) -> None:
        """Keep a value as the newest, and forget as many of the oldest as that takes."""
        self.drop(id_)
        self._values[id_] = value
        self._total += self._weigh(value)
        while self._values and (len(self._values) > self._count or self._total > self._weight):
            self.drop(next(iter(self._values)))

    def get(self, id_: str) -> _V | None:
        """A value, if it is still here."""
        return self._values.get(id_)

    def drop(self, id_: str) -> None:
        """Forget one value; one that is not here is forgotten already."""
        if (value := self._values.pop(id_, None)) is not None:
            self._total -= self._weigh(value)
