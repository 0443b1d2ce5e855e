"""When a group is handed to the writer: at once where few come, and where many do once the loop is idle."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from gateway.adapters import commit_delay
from gateway.adapters.commit_delay import CommitDelay

BUSY, IDLE = 0.000_3, 0.000_003


class FakeLoop:
    """A loop whose turns take as long as they are told, and its clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self._ready: list[Callable[[], None]] = []

    def perf_counter(self) -> float:
        return self.now

    def call_soon(self, run: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401 - as the loop takes them
        self._ready.append(lambda: run(*arguments))

    def turn(self, seconds: float) -> None:
        ready, self._ready = self._ready, []
        self.now += seconds
        for run in ready:
            run()


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> FakeLoop:
    loop = FakeLoop()
    monkeypatch.setattr(commit_delay, "time", loop)
    return loop


class Delayed:
    """A delay, and when it had something written."""

    def __init__(self, loop: FakeLoop, usual: int) -> None:
        self.written: list[float] = []
        self._loop = loop
        self._delay = CommitDelay(lambda: self.written.append(loop.now))
        for _ in range(100):
            self._delay.shared(usual)

    def came(self) -> None:
        self._delay.came(cast("asyncio.AbstractEventLoop", self._loop))


def test_who_comes_alone_does_not_wait(loop: FakeLoop) -> None:
    delayed = Delayed(loop, usual=1)

    delayed.came()
    delayed.came()
    assert not delayed.written
    loop.turn(BUSY)

    assert delayed.written == [loop.now]


def test_where_many_come_they_are_waited_for_until_the_loop_is_idle(loop: FakeLoop) -> None:
    delayed = Delayed(loop, usual=8)

    delayed.came()
    loop.turn(IDLE)  # the end of the turn in which it came
    for _ in range(5):
        loop.turn(BUSY)
        delayed.came()
    assert not delayed.written
    loop.turn(IDLE)

    assert delayed.written == [loop.now]


def test_nobody_waits_for_long(loop: FakeLoop) -> None:
    delayed = Delayed(loop, usual=8)
    began = loop.now

    delayed.came()
    while not delayed.written:
        loop.turn(BUSY)

    assert 0.004 <= delayed.written[0] - began <= 0.004 + 2 * BUSY


def test_where_few_come_again_nobody_waits(loop: FakeLoop) -> None:
    delayed = Delayed(loop, usual=8)
    for _ in range(100):
        delayed._delay.shared(1)

    delayed.came()
    loop.turn(BUSY)

    assert delayed.written == [loop.now]
