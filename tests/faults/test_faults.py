"""Faults at random under load, at a size that every run of the tests can bear; `make faults` does thousands."""

import sys

import pytest

from tests.faults.runner import Plan, run
from tests.faults.scene import Setup

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

GATEWAY = Plan(1, Setup(upstream_timeout=2), 2, 10, 1.0, kinds=("kill-gateway",))
WORKERS = Plan(2, Setup(upstream_timeout=2, workers=2, mode="task"), 2, 10, 1.0, kinds=("kill-worker",))
THINGS = Plan(3, Setup(upstream_timeout=2), 2, 10, 1.0, kinds=("sql-locked", "redis-killed", "302-unplugged"))


@pytest.mark.parametrize("plan", [GATEWAY, WORKERS, THINGS], ids=["gateway", "workers", "things"])
async def test_every_promise_is_kept(plan: Plan) -> None:
    report = await run(plan)

    assert report.verdict.wrong == [], report.table()
    assert report.faults.total() > plan.rounds
    assert report.verdict.charges > 0
