"""Faults at random under load, at a size that every run of the tests can bear; `make faults` does thousands."""

import sys

import pytest

from tests.faults.runner import Plan, run
from tests.faults.scene import Setup

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

RUNS = [
    pytest.param(Plan(1, Setup(), 2, 12, kinds=("kill-gateway",)), id="kill-9"),
    pytest.param(Plan(2, Setup(workers=2, mode="task"), 2, 12, kinds=("kill-worker", "sigstop")), id="workers-task"),
    pytest.param(Plan(3, Setup(), 3, 12, kinds=("sql-locked-long", "redis-frozen", "302-unplugged")), id="things"),
]


@pytest.mark.parametrize("plan", RUNS)
async def test_every_promise_is_kept(plan: Plan) -> None:
    report = await run(plan)

    assert report.verdict.wrong == [], report.table()
    assert report.faults.total() > plan.rounds
    assert report.verdict.charges > 0
