"""Runs: a gateway under load, hurt at random moments, and judged when it has come to rest."""

import asyncio
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random
from typing import Any

from tests.faults.injuries import injuries
from tests.faults.judge import Verdict, Watch, judge
from tests.faults.load import Errand, Load, failures
from tests.faults.scene import Scene, Setup, staged


@dataclass(frozen=True)
class Plan:
    """One run: in each round there are errands, and in their midst injuries, one after another.

    `kinds` are the injuries to draw from, all that there are if empty; `rate` is of the wire's faults, `failing` the
    share of errands at which 302 fails by itself, `within` the seconds in which a round's errands and injuries begin.
    """

    seed: int
    setup: Setup = field(default_factory=Setup)
    rounds: int = 3
    errands: int = 20
    within: float = 2.0
    rate: float = 0.1
    failing: float = 0.1
    kinds: tuple[str, ...] = ()
    injuries: int = 1


@dataclass
class Report:
    """What a run, or many together, came to."""

    faults: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    errands: int = 0
    answered: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    seconds: float = 0.0

    def add(self, other: "Report") -> None:
        """Take another run's numbers in."""
        self.faults += other.faults
        self.requests += other.requests
        self.errands += other.errands
        self.answered += other.answered
        self.seconds += other.seconds
        mine, theirs = self.verdict, other.verdict
        self.verdict = Verdict(
            mine.charges + theirs.charges,
            mine.double + theirs.double,
            mine.lost + theirs.lost,
            mine.unknown + theirs.unknown,
            mine.unseen + theirs.unseen,
            mine.wrong + theirs.wrong,
        )

    def table(self) -> str:
        """The numbers, for a person."""
        verdict = self.verdict
        lines = [f"{count:>8}  {kind}" for kind, count in sorted(self.faults.items())]
        lines += [
            f"{self.faults.total():>8}  FAULTS",
            f"{self.requests:>8}  requests, of {self.errands} errands; {self.answered} got their picture",
            f"{verdict.charges:>8}  charges",
            f"{verdict.double:>8}  DOUBLE CHARGES",
            f"{verdict.lost:>8}  LOST PICTURES",
            f"{verdict.unknown:>8}  outcomes unknown for ever; of these were charged {verdict.unseen / 1e6:.6f} USD",
            f"{len(verdict.wrong):>8}  broken promises",
            f"{self.seconds:>8.1f}  seconds",
        ]
        return "\n".join(lines + verdict.wrong)


def play(plan: Plan) -> Report:
    """Play one run, in a process of its own; that it came to no end is told as a broken promise."""
    try:
        return asyncio.run(run(plan))
    except Exception:  # noqa: BLE001 - whatever it is, it must be looked at, and other runs go on
        return Report(verdict=Verdict(wrong=[traceback.format_exc()]))


async def run(plan: Plan) -> Report:
    """Play one run to its end."""
    # A lot each, or what the wire draws, which hangs on microseconds, would change everything else.
    started, lot, of_wire = time.monotonic(), Random(plan.seed), Random(plan.seed)
    setup = replace(plan.setup)
    async with staged(setup, of_wire, concurrency=1000, budget_day=10**12) as scene:
        load, watch = Load(scene), Watch(scene)
        watching = asyncio.get_running_loop().create_task(watch.run())
        errands: list[Errand] = []
        calls: list[dict[str, Any]] = []
        report = Report()
        try:
            for _ in range(plan.rounds):
                errands += await _round(plan, scene, load, report.faults, lot)
                calls += await _calls(scene)
            verdict = await judge(scene, errands, calls)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        verdict.wrong += watch.short[:3]
        verdict.wrong += scene.done if verdict.wrong else []
        report.faults += scene.wire.met + load.met + failures(calls)
    return replace(
        report,
        requests=load.requests,
        errands=len(errands),
        answered=sum(bool(errand.urls) for errand in errands),
        verdict=verdict,
        seconds=time.monotonic() - started,
    )


async def _round(plan: Plan, scene: Scene, load: Load, faults: Counter[str], lot: Random) -> Sequence[Errand]:
    """Load, and injuries in the midst of it."""
    errands = load.errands(plan.errands, plan.within, lot, plan.failing)
    known = injuries(plan.setup.database, plan.setup.workers)
    moments = sorted(lot.uniform(0.1, plan.within) for _ in range(plan.injuries))
    hurts = [(lot.choice([*(plan.kinds or known)]), Random(lot.random())) for _ in moments]
    pauses = [later - sooner for sooner, later in pairwise([0.0, *moments])]
    asking_lot = Random(lot.random())
    scene.wire.rate = plan.rate
    asking = asyncio.get_running_loop().create_task(load.run(errands, asking_lot))
    try:
        for after, (name, hurting) in zip(pauses, hurts, strict=True):
            await asyncio.sleep(after)
            faults[name] += 1
            began = time.time()
            await known[name](scene, hurting)
            scene.done.append(f"{name} from {began:.3f} to {time.time():.3f}")
    finally:
        await asking
        scene.wire.mend()
    return errands


async def _calls(scene: Scene) -> list[dict[str, Any]]:
    """The simulator's calls since the last time, once none is running."""
    while True:
        calls = await asyncio.to_thread(scene.simulator.calls)
        if not any(call["outcome"] == "running" for call in calls):
            await asyncio.to_thread(scene.simulator.forget)
            return calls
        await asyncio.sleep(0.1)
