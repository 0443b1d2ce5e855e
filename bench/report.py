"""The table: what was aimed at, what was measured, and the figures behind it."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from bench.pictures import B64, STALLED
from bench.probe import Probed
from bench.rounds import HIT, MISS, ONE, THOUSAND, TRACED, Round

MB = 1 << 20
KB = 1 << 10
BUSY = 0.1


@dataclass(frozen=True)
class Goal:
    """One line: what must be reached and what would be better still, in the same unit."""

    number: str
    what: str
    must: float
    stretch: float
    measure: Callable[[Round], float]
    sense: Literal["≤", "≥"] = "≤"
    unit: str = ""
    digits: int = 2
    worst: bool = False
    """Of the rounds the worst one counts, not the middle one: what happened once has happened."""

    def text(self, value: float) -> str:
        """Write a value as this goal's are written."""
        return f"{self.number_text(value)}{self.unit}"

    def number_text(self, value: float) -> str:
        """The same without its unit."""
        return "-" if math.isnan(value) else f"{value:,.{self.digits}f}"

    def verdict(self, value: float) -> str:
        """Judge a value as it is printed."""
        shown = round(value, self.digits)
        if math.isnan(shown):
            return "-"
        reached = [shown <= limit if self.sense == "≤" else shown >= limit for limit in (self.must, self.stretch)]
        return "stretch" if reached[1] else "reached" if reached[0] else "MISSED"


def _cpu(load: str, server: str) -> Callable[[Round], float]:
    """CPU time of a request of the gateway over the same of another server."""

    def measure(one: Round) -> float:
        return one.runs[load, "gateway"].cpu_us[0] / one.runs[load, server].cpu_us[0]

    return measure


def _added(load: str, quantile: Literal["p50", "p99"]) -> Callable[[Round], float]:
    """What the gateway adds to the way without it, in ms: the time beyond what the upstream was asked to take."""

    def measure(one: Round) -> float:
        ours, direct = one.runs[load, "gateway"].added, one.runs[load, "direct"].added
        return (ours.p99 - direct.p99) if quantile == "p99" else (ours.p50 - direct.p50)

    return measure


def _block(load: str) -> Callable[[Round], float]:
    """The longest answer to a probe, less the same of the floor where the load is one for it too."""

    def measure(one: Round) -> float:
        floor = one.probes.get((load, "floor"))
        return max(0.0, one.probes[load, "gateway"].max - (floor.max if floor else 0.0))

    return measure


def _rate(load: str, server: str) -> Callable[[Round], float]:
    """How many requests a second the gateway answers, over the same of another server."""

    def measure(one: Round) -> float:
        return one.runs[load, "gateway"].rps / one.runs[load, server].rps

    return measure


def _grown(one: Round) -> float:
    return (one.runs[THOUSAND.name, "gateway"].peak_bytes - one.idle_bytes) / 1000 / KB


def _stalled(one: Round) -> float:
    return one.stalled_bytes / MB


GOALS = [
    Goal("G1", "cache hit: CPU a request / floor", 1.6, 1.0, _cpu(HIT.name, "floor")),
    Goal("G2", "cache hit: CPU a request / nginx", 3.5, 2.5, _cpu(HIT.name, "nginx")),
    Goal("G1", "cache hit, each with a trace: CPU a request / floor", 1.6, 1.0, _cpu(TRACED.name, "floor")),
    Goal("G2", "cache hit, each with a trace: CPU a request / nginx", 3.5, 2.5, _cpu(TRACED.name, "nginx")),
    Goal("G3", "miss at 0 ms: CPU a request / floor", 8, 4, _cpu(MISS.name, "floor")),
    Goal("G6", "one connection, miss at 0 ms: added p50", 1.5, 0.6, _added(ONE.name, "p50"), unit=" ms"),
    Goal("G7", "1,000 in flight: RPS / direct", 0.97, 0.99, _rate(THOUSAND.name, "direct"), sense="≥", digits=3),
    Goal("G7", "1,000 in flight: added p50", 20, 5, _added(THOUSAND.name, "p50"), unit=" ms"),
    Goal("G7", "1,000 in flight: added p99", 50, 10, _added(THOUSAND.name, "p99"), unit=" ms"),
    Goal(
        "G7",
        "1,000 in flight: errors",
        0,
        0,
        lambda one: one.runs[THOUSAND.name, "gateway"].errors,
        digits=0,
        worst=True,
    ),
    Goal("G8", "resident memory: idle worker", 110, 70, lambda one: one.idle_bytes / MB, unit=" MB", digits=1),
    Goal("G8", "resident memory: a request in flight", 80, 40, _grown, unit=" KB", digits=1),
    Goal("G9", "b64 of 2 MB: CPU a request / nginx passing ready JSON", 2.5, 1.6, _cpu(B64.name, "nginx")),
    Goal("G10", "64 stalled readers of 4 MB b64: memory over idle", 96, 40, _stalled, unit=" MB", digits=1),
    Goal("G11", "longest block: cache hit", 25, 5, _block(HIT.name), unit=" ms", digits=1, worst=True),
    Goal("G11", "longest block: miss at 0 ms", 25, 5, _block(MISS.name), unit=" ms", digits=1, worst=True),
    Goal("G11", "longest block: 1,000 in flight", 25, 5, _block(THOUSAND.name), unit=" ms", digits=1, worst=True),
    Goal("G11", "longest block: b64 of 2 MB", 25, 5, _block(B64.name), unit=" ms", digits=1, worst=True),
    Goal("G11", "longest block: 64 stalled readers", 25, 5, _block(STALLED.name), unit=" ms", digits=1, worst=True),
    Goal("G12", "cache hit: Redis round trips", 1, 1, lambda one: one.round_trips, digits=1),
]

RIVAL_GOALS = [
    Goal("G4", "cache hit: RPS / LiteLLM's", 80, 140, _rate(HIT.name, "litellm"), sense="≥", digits=1),
    Goal("G4", "miss at 0 ms: RPS / LiteLLM's", 20, 60, _rate(MISS.name, "litellm"), sense="≥", digits=1),
    Goal("G5", "cache hit: RPS / Portkey's", 12, 19, _rate(HIT.name, "portkey"), sense="≥", digits=1),
    Goal("G5", "miss at 0 ms: RPS / Portkey's", 3, 7, _rate(MISS.name, "portkey"), sense="≥", digits=1),
]

Row = Sequence[str]


def report(rounds: list[Round], goals: Sequence[Goal]) -> str:
    """Write the verdicts on goals, and the figures behind them."""
    tables = [_table(_goals(rounds, goals)), _table(_loads(rounds))]
    if any(one.probes for one in rounds):
        tables.append(_table(_probes(rounds)))
    return "\n\n".join([*_warning(rounds), *tables, "\n".join(_notes(rounds))])


def _warning(rounds: list[Round]) -> Iterator[str]:
    """Say when the table is not worth much; the fake upstream is left out, for it shares its CPU with the load."""
    worst = max(run.held_up for one in rounds for (_, server), run in one.runs.items() if server != "direct")
    if worst > BUSY:
        yield f"The machine was busy: others had the server's CPU for up to {worst:.0%} of a window. Run again."


def _goals(rounds: list[Round], goals: Sequence[Goal]) -> Iterator[Row]:
    yield "goal", "what", "must", "stretch", "measured", "range", "verdict"
    for goal in goals:
        values = [_measured(goal, one) for one in rounds]
        counts = max(values) if goal.worst else median(values)
        shown = (f"{goal.sense} {goal.text(goal.must)}", f"{goal.sense} {goal.text(goal.stretch)}", goal.text(counts))
        spread = f"{goal.number_text(min(values))} – {goal.text(max(values))}"
        yield goal.number, goal.what, *shown, spread, goal.verdict(counts)


def _measured(goal: Goal, one: Round) -> float:
    try:
        return goal.measure(one)
    except KeyError:  # that server was not measured
        return math.nan


def _loads(rounds: list[Round]) -> Iterator[Row]:
    yield "load", "server", "RPS", "CPU µs", "Valkey CPU µs", "p50 ms", "p99 ms", "in flight", "held up"
    for load, server in rounds[0].runs:
        runs = [one.runs[load, server] for one in rounds]
        cpu = [median(run.cpu_us[process] for run in runs) for process in range(len(runs[0].cpu_us))]
        yield (
            load,
            server,
            f"{median(run.rps for run in runs):,.0f}",
            f"{cpu[0]:.1f}",
            f"{cpu[1]:.1f}" if len(cpu) > 1 else "",
            f"{median(run.took.p50 for run in runs):.2f}",
            f"{median(run.took.p99 for run in runs):.2f}",
            f"{median(run.in_flight for run in runs):,.0f}",
            f"{max(run.held_up for run in runs):.0%}",
        )


def _probes(rounds: list[Round]) -> Iterator[Row]:
    yield "probe during", "server", "GET", "count", "p50 ms", "p99.9 ms", "max ms", "worst max ms", "held up"
    for kind, path in (("probes", "/livez"), ("scrapes", "/metrics")):
        found = [getattr(one, kind) for one in rounds]
        for load, server in found[0]:
            probes: list[Probed] = [one[load, server] for one in found]
            worst = max(probes, key=lambda probe: probe.max)
            yield (
                load,
                server,
                path,
                f"{sum(probe.count for probe in probes):,}",
                f"{median(probe.p50 for probe in probes):.1f}",
                f"{median(probe.p99_9 for probe in probes):.1f}",
                f"{median(probe.max for probe in probes):.1f}",
                f"{worst.max:.1f}",
                f"{worst.held_up:.0%}",
            )


def _notes(rounds: list[Round]) -> Iterator[str]:
    if commands := ", ".join(f"{name} {count:.2f}" for name, count in rounds[-1].commands.items()):
        yield f"Commands in Valkey for one hit (those inside a script too): {commands}."
    yield "Held up: the share of time in which others had the server's CPU, in the worst round (a probe's: of its max)."
    if any(load == THOUSAND.name for load, _ in rounds[-1].runs):
        yield f"CPU of a request at {THOUSAND.name}: with what it takes to answer the probe's 500 GET /livez a second."
    yield "Errors and the longest block are those of the worst round, all else is the median."
    for number, one in enumerate(rounds, 1):
        for (load, server), run in one.runs.items():
            if run.errors:
                yield f"Round {number}, {load}, {server}: {run.errors} errors, the first: {run.example[:500]}"


def _table(rows: Iterator[Row]) -> str:
    """Write rows as a table of Markdown, aligned."""
    head, *body = rows
    widths = [max(len(row[column]) for row in (head, *body)) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (head, *body)
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
