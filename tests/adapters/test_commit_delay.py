"""How long the writer waits for more to commit."""

import pytest

from gateway.adapters import commit_delay
from gateway.adapters.commit_delay import wait_for_more


class FakeTime:
    """Time that passes while somebody sleeps; a share of it is used by the process."""

    def __init__(self, used: float) -> None:
        self.used = used
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.used * self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("used", [0.0, 0.5])
def test_it_waits_no_longer_once_the_process_is_idle(used: float, monkeypatch: pytest.MonkeyPatch) -> None:
    time = FakeTime(used)
    monkeypatch.setattr(commit_delay, "time", time)

    wait_for_more()

    assert time.now == commit_delay._LOOK_EVERY


@pytest.mark.parametrize("used", [0.7, 1.0])
def test_it_waits_two_milliseconds_at_most(used: float, monkeypatch: pytest.MonkeyPatch) -> None:
    time = FakeTime(used)
    monkeypatch.setattr(commit_delay, "time", time)

    wait_for_more()

    assert 0.002 <= time.now < 0.002 + 2 * commit_delay._LOOK_EVERY
