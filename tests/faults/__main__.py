"""`python -m tests.faults`: faults at random under load, until as many as were asked for; prints what came of them."""

import argparse
import asyncio
import sys

from tests.faults.injuries import injuries
from tests.faults.runner import Plan, Report, run
from tests.faults.scene import Setup


def main() -> int:
    """Run until there were enough faults; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=1000, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each next one's is one more")
    parser.add_argument("--mode", choices=["sync", "task"], default="sync")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10, help="of a run, each with an injury of its own")
    parser.add_argument("--errands", type=int, default=30, help="of a round")
    parser.add_argument("--only", nargs="*", default=[], help="injuries to draw from")
    asked = parser.parse_args()
    known = injuries(asked.database, asked.workers)
    if unknown := set(asked.only) - set(known):
        parser.error(f"{', '.join(sorted(unknown))}: there are {', '.join(known)}")

    total, seed = Report(), asked.seed
    while total.faults.total() < asked.faults:
        setup = Setup(workers=asked.workers, mode=asked.mode, database=asked.database)
        plan = Plan(seed, setup, asked.rounds, asked.errands, kinds=tuple(asked.only))
        report = asyncio.run(run(plan))
        wrong = report.verdict.wrong
        print(
            f"seed {seed}: {report.faults.total()} faults in {report.seconds:.0f} s, {len(wrong)} broken promises",
            *wrong,
            sep="\n  ",
        )
        sys.stdout.flush()
        total.add(report)
        seed += 1
    print(f"\nseeds {asked.seed} to {seed - 1}, {asked.mode}, {asked.database}, {asked.workers} workers\n")
    print(total.table())
    return 1 if total.verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
