"""Accuracy against latency against size: the builds of one model, which of them is worth having, and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.judge.drift import SMALLEST
from harness.judge.latency import HOW_LONG
from harness.metrics import LOWER_TASKS
from harness.pareto import SAME, Point, front
from harness.records import WAITING, DriftPlan, Environment, Latency, Quantiles, Record, Run
from harness.report.rows import Row, on_clock

WORTHY = frozenset({"regressed", "inconclusive", "new", "improved", "passed"})
"""Statuses of cases whose accuracy holds: the others could not be shipped, whatever they win."""
ROOM = DriftPlan.max_factor
"""Errors that are no further apart count as the same: other builds of one file differ by as much."""
ERROR = "rmse_rel"
"""Accuracy of a model without a task: the error beside the reference, of the output that is worst."""
UNSIZED = "size is not known of every build that holds: weighed by accuracy and latency alone"
NAMED = 6
"""Builds that a note names."""
EAGER = ("pytorch-cuda", "pytorch-cpu")
"""What others are compared with where it is there, as their users come from it."""


@dataclass(frozen=True)
class Option:
    """One build on one backend, as it was measured."""

    place: int
    """Of its row on the page."""
    backend: str
    precision: str
    chain: tuple[str, ...]
    worthy: bool
    """No check failed: of its accuracy, nor of what else it may take."""
    is_reference: bool = False
    accuracy: float | None = None
    window: Quantiles | None = None
    bytes: float | None = None
    """Of the engine where the backend builds one, else of the model's file."""

    @property
    def p50_ms(self) -> float | None:
        """The median of its window; None also where its clock saw no time pass: nothing has a ratio to that."""
        return self.window.p50_ms or None if self.window else None

    @property
    def complete(self) -> bool:
        """Whether it can be weighed against others."""
        return self.worthy and None not in (self.accuracy, self.p50_ms)

    @property
    def plain(self) -> bool:
        """Whether it is the model as it is."""
        return self.precision == "fp32" and not self.chain


@dataclass(frozen=True)
class Tradeoff:
    """The options for one model at one shape, the fastest first; those that cannot be weighed stand last.

    All the numbers are places in `options`.
    """

    suite: str
    model: str
    shape: str
    machine: str
    """The machine class: times of several are never put together."""
    metric: str
    lower_is_better: bool
    clock: str
    """The one that all times are from."""
    same_clock: bool
    """Whether it is the one that each case is decided on, too."""
    notes: tuple[str, ...]
    """What differs between the conditions under which times and sizes were taken."""
    options: tuple[Option, ...]
    previous: tuple[int | None, ...]
    """For each option the one that lacks its last steps."""
    front: tuple[int, ...]
    line: tuple[int, ...]
    """Of the front, what would be on it if size did not count: these can be joined by a line."""
    picks: tuple[int | None, ...]
    """Of the front, if any: the fastest, the smallest (None where size does not count), the most accurate."""
    base: int
    winner: int | None = None
    """What a search chose."""


def weigh(run: Run, rows: Sequence[Row]) -> tuple[Tradeoff, ...]:
    """One for each model, shape and machine class of which at least two cases were timed."""
    groups: dict[tuple[str, str, str, str], list[int]] = {}
    for place, row in enumerate(rows):
        case, machine = row.record.case, run.environments.get(row.record.environment)
        key = case.suite, case.model, case.shape, machine.fingerprint if machine else ""
        groups.setdefault(key, []).append(place)
    return tuple(
        _of_rows(key, {place: rows[place].record for place in places}, run.environments)
        for key, places in sorted(groups.items())
        if sum(bool(rows[place].p50_ms) for place in places) > 1
    )


def tradeoff(
    names: tuple[str, str, str, str],
    metric: str,
    clock: str,
    found: Iterable[Option],
    notes: Sequence[str] = (),
    *,
    same_clock: bool = True,
    winner: int | None = None,
) -> Tradeoff:
    """Options of one model, weighed; `names` are suite, model, shape and machine class, `winner` the place of a row."""
    lower = metric == ERROR or metric in LOWER_TASKS
    options = tuple(sorted(found, key=lambda one: (not one.complete, one.p50_ms is None, one.p50_ms or 0.0)))
    good = [place for place, one in enumerate(options) if one.complete]
    sized = all(options[place].bytes is not None for place in good)
    points = {place: _point(options[place], metric, lower=lower, sized=sized) for place in good}
    told = (*notes, *([] if sized else [UNSIZED]))
    room = math.log(ROOM) if metric == ERROR else 0.0
    best = [good[at] for at in front([points[place] for place in good], room)]
    flat = front([replace(points[place], bytes=0.0) for place in best], room)
    return Tradeoff(
        *names, metric, lower, clock, same_clock, told, options, _previous(options),
        tuple(best), tuple(best[at] for at in flat), _picks(best, points, room, sized=sized), _base(options),
        next((place for place, one in enumerate(options) if one.place == winner), None),
    )  # fmt: skip


def _of_rows(
    names: tuple[str, str, str, str], records: Mapping[int, Record], machines: Mapping[str, Environment]
) -> Tradeoff:
    checks = (check for one in records.values() for check in one.checks)
    task = next((one for one in checks if one.name.startswith("task/")), None)  # others are about changed images
    metric = task.metric.removesuffix("_drop").removesuffix("_rise") if task else ERROR
    windows = [one.latency for one in records.values() if one.latency]
    clocks = {one.decided_on for one in windows}
    clock = clocks.pop() if len(clocks) == 1 else "host"
    found = [_option(place, one, metric, task.output if task else None, clock) for place, one in records.items()]
    notes = _notes([one for one in records.values() if one.latency], machines)
    return tradeoff(names, metric, clock, found, notes, same_clock=all(one.decided_on == clock for one in windows))


def _option(place: int, record: Record, metric: str, output: str | None, clock: str) -> Option:
    case = record.case
    values = [m.value for m in record.measurements if m.metric == metric and output in (None, m.output)]
    known = [value for value in values if value is not None]
    return Option(
        place=place,
        backend=case.runs_on,
        precision=case.precision,
        chain=case.chain,
        worthy=record.as_judged.status in WORTHY,
        is_reference=record.reference == f"{case.backend} {case.precision}" and not case.chain,
        accuracy=max(known) if known and len(known) == len(values) else None,
        window=on_clock(record.latency, clock),
        bytes=measured_bytes(record),
    )


def measured_bytes(record: Record) -> float | None:
    """What is shipped: the engine where the backend builds one, else the model's file."""
    return record.measures.get("engine_bytes") or record.measures.get("model_bytes")


def _point(one: Option, metric: str, *, lower: bool, sized: bool) -> Point:
    """Errors count by their ratios; those that orders of summation bring about are the same."""
    value = one.accuracy or 0.0
    if metric == ERROR:
        value = math.log(max(value, SMALLEST))
    return Point(-value if lower else value, one.p50_ms or 0.0, (one.bytes or 0.0) * sized)


def _picks(best: Sequence[int], points: Mapping[int, Point], room: float, *, sized: bool) -> tuple[int | None, ...]:
    if not best:
        return ()
    least, most = min(points[place].p50_ms for place in best), max(points[place].merit for place in best)
    near = [place for place in best if points[place].p50_ms <= least * SAME]
    accurate = [place for place in best if points[place].merit >= most - room]
    return (
        max(near, key=lambda place: (points[place].merit, -points[place].p50_ms)),
        min(best, key=lambda place: (points[place].bytes, points[place].p50_ms)) if sized else None,
        min(accurate, key=lambda place: (points[place].p50_ms, -points[place].merit)),
    )


def _previous(options: Sequence[Option]) -> tuple[int | None, ...]:
    """Steps are made in fp32 from left to right, and the precision comes last: what is there of that, the longest."""
    places = {(one.backend, one.precision, one.chain): place for place, one in enumerate(options)}

    def before(one: Option) -> int | None:
        whole = [one.chain] if one.precision != "fp32" else []
        shorter = [one.chain[:count] for count in range(len(one.chain) - 1, -1, -1)]
        found = (places.get((one.backend, "fp32", chain)) for chain in (*whole, *shorter))
        return next((place for place in found if place is not None and options[place].p50_ms is not None), None)

    return tuple(before(one) for one in options)


def _base(options: Sequence[Option]) -> int:
    """PyTorch as it is, else the plain model as the reference has it, else the plain model, else the slowest."""

    def rank(place: int) -> tuple[bool, ...]:
        one = options[place]
        eager = [one.plain and one.backend.partition("@")[0] == name for name in EAGER]
        return one.p50_ms is not None, *eager, one.is_reference and one.plain, one.is_reference, one.plain, one.complete

    return max(reversed(range(len(options))), key=rank)


def _notes(timed: Sequence[Record], machines: Mapping[str, Environment]) -> list[str]:
    windows = [(one, one.latency) for one in timed if one.latency]
    places = dict.fromkeys(one.environment for one in timed)
    hosts = dict.fromkeys(host for name in places if name in machines for host in machines[name].host.split(", "))
    notes = []
    cpus = dict.fromkeys(one.case.runs_on for one, latency in windows if latency.decided_on == "host")
    if len({latency.decided_on for _, latency in windows}) > 1:
        notes.append(
            f"CPU and GPU side by side: {', '.join(cpus)} ran on the CPU, so every time here is of the host's clock"
        )
    if len(hosts) > 1:
        notes.append(f"several machines of one class: {', '.join(hosts)}")
    elif len(places) > 1:
        notes.append(f"several environments of one machine: {', '.join(places)}")
    notes += _settings([latency for _, latency in windows])
    waiting = [
        f"{one.case.runs_on} {one.case.built_as}"
        for one in timed
        if any(note.startswith(WAITING) for note in one.notes)
    ]
    if waiting:
        others = f" and {len(waiting) - NAMED} more" if len(waiting) > NAMED else ""
        notes.append(f"{WAITING} in {', '.join(waiting[:NAMED])}{others}: their times are those of the enqueueing")
    if len({"engine_bytes" in one.measures for one in timed if measured_bytes(one)}) > 1:
        notes.append("size: of the engine where a backend builds one, else of the model's file")
    return notes


def _settings(windows: Sequence[Latency]) -> list[str]:
    keys = dict.fromkeys(key for one in windows for key in one.settings if key not in HOW_LONG)
    values = {key: dict.fromkeys(str(one.settings.get(key)) for one in windows) for key in keys}
    return [
        f"timed with different settings: {key} {' or '.join(found)}" for key, found in values.items() if len(found) > 1
    ]
