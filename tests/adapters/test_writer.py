"""How long the writer waits for more to write."""

import pytest

from gateway.adapters import writer
from gateway.adapters.writer import wait_for_more


class Time:
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


@pytest.mark.parametrize(("used", "looks"), [(0.0, 1), (0.5, 1), (0.7, 8), (1.0, 8)])
def test_it_waits_while_the_process_is_busy_and_two_milliseconds_at_most(
    used: float, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time(used)
    monkeypatch.setattr(writer, "time", time)

    wait_for_more()

    assert time.now == pytest.approx(looks * 0.000_25)
