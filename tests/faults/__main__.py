"""`python -m tests.faults`: faults at random under load, until as many as were asked for; prints what came of them."""

import argparse
import multiprocessing
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import count

from tests.faults.injuries import injuries
from tests.faults.runner import Plan, Report, play
from tests.faults.scene import Setup


def main() -> int:
    """Run until there were enough faults; 1 if a promise was broken."""
    asked = _asked()
    began, total = time.monotonic(), Report()
    running: dict[Future[Report], int] = {}
    seeds = count(asked.seed)
    # A process each: what one scene does to its own must not hold up the clients of another.
    with ProcessPoolExecutor(asked.scenes, multiprocessing.get_context("spawn")) as pool:
        while running or total.faults.total() < asked.faults:
            while len(running) < asked.scenes and total.faults.total() < asked.faults:
                seed = next(seeds)
                running[pool.submit(play, _plan(asked, seed))] = seed
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                report = future.result()
                _tell(running.pop(future), report)
                total.add(report)
    total.seconds = time.monotonic() - began
    print(f"\n{next(seeds) - asked.seed} seeds from {asked.seed} on, {asked.mode}, {asked.database}\n")
    print(total.table())
    return 1 if total.verdict.wrong else 0


def _tell(seed: int, report: Report) -> None:
    wrong = report.verdict.wrong
    line = f"seed {seed}: {report.faults.total()} faults in {report.seconds:.0f} s, {len(wrong)} broken promises"
    print(line, *wrong, sep="\n  ", flush=True)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=1000, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each next one's is one more")
    parser.add_argument("--scenes", type=int, default=6, help="runs at once, each with processes of its own")
    parser.add_argument("--mode", choices=["sync", "task"], default="sync")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10, help="of a run")
    parser.add_argument("--errands", type=int, default=60, help="of a round")
    parser.add_argument("--injuries", type=int, default=2, help="of a round")
    parser.add_argument("--within", type=float, default=2.0, help="seconds in which they begin")
    parser.add_argument("--rate", type=float, default=0.2, help="the share of calls that the wire does harm to")
    parser.add_argument("--failing", type=float, default=0.2, help="the share of errands at which 302 fails")
    parser.add_argument("--only", nargs="*", default=[], help="injuries to draw from")
    asked = parser.parse_args()
    known = injuries(asked.database, asked.workers)
    if unknown := set(asked.only) - set(known):
        parser.error(f"{', '.join(sorted(unknown))}: there are {', '.join(known)}")
    return asked


def _plan(asked: argparse.Namespace, seed: int) -> Plan:
    return Plan(
        seed,
        Setup(workers=asked.workers, mode=asked.mode, database=asked.database),
        rounds=asked.rounds,
        errands=asked.errands,
        within=asked.within,
        rate=asked.rate,
        failing=asked.failing,
        kinds=tuple(asked.only),
        injuries=asked.injuries,
    )


if __name__ == "__main__":
    sys.exit(main())
