"""What changed between two runs, in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from harness.foreign import plain
from harness.judge.drift import accuracy_of, between
from harness.records import Check, Environment, Quantiles, Record, Run
from harness.report.format import change, milliseconds, number
from harness.report.rows import ACCURACY, higher_is_better, label, on_clock
from harness.report.scope import deselected
from harness.report.statuses import STATUS, Status

_UNMEASURED = frozenset({"error", "missing", "skipped"})
_LOAD = re.compile(r"(single_stream|multi_stream|server|offline|video|video_unpaced)_(p\d+_ms|per_s|fps)")
LOAD_ROOM = 1.1
"""Measures under load that are no further apart count as the same."""
_DROPS = "video_drop_share"
DROPS_ROOM = 0.01
"""Shares of frames that are no further apart count as the same; most are 0, to which nothing has a ratio."""


@dataclass(frozen=True)
class Change:
    """What changed in one case; a status is None where the run does not have the case."""

    id: str
    before: Status | None
    after: Status | None
    worse: bool
    words: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Run `after` against run `before`: the cases that changed, worse ones first, and what else differs."""

    before: str
    after: str
    changes: tuple[Change, ...]
    unchanged: int
    environments: tuple[str, ...]
    deselected: int = 0
    """Cases of the earlier run that the later one's command left out."""

    @property
    def worse(self) -> bool:
        """Whether any case is worse: now blocking, gone, or skipped where it was measured."""
        return any(change.worse for change in self.changes)


def compare(a: Run, b: Run) -> Comparison:
    """What changed from run `a` to run `b`."""
    before = {record.case.id: record for record in a.records}
    after = {record.case.id: record for record in b.records}
    pairs = [(before.get(id_), after.get(id_)) for id_ in dict.fromkeys([*after, *before])]
    left_out = deselected(b, [*before.values(), *after.values()]) - after.keys()
    pairs = [(old, new) for old, new in pairs if new is not None or old is None or old.case.id not in left_out]
    changes = [found for pair in pairs if (found := _case(*pair))]
    changes.sort(key=lambda change: (not change.worse, change.after.rank if change.after else -1))
    return Comparison(
        before=a.id,
        after=b.id,
        changes=tuple(changes),
        unchanged=len(pairs) - len(changes),
        environments=tuple(_environments(a, b)),
        deselected=len(before.keys() & left_out),
    )


def compare_text(comparison: Comparison) -> str:
    """A comparison for a terminal, line by line."""
    lines = [f"{plain(comparison.after)} against {plain(comparison.before)}"]
    lines += [f"  environment: {plain(line)}" for line in comparison.environments]
    for found in comparison.changes:
        mark = "worse" if found.worse else "     "
        lines.append(f"{mark} {found.after.glyph if found.after else ' '} {plain(found.id)}")
        lines += [f"          {plain(word)}" for word in found.words]
    worse = sum(found.worse for found in comparison.changes)
    others = len(comparison.changes) - worse
    left_out = f", {comparison.deselected} not asked for in the later run" if comparison.deselected else ""
    lines.append(f"{worse} worse, {others} otherwise changed, {comparison.unchanged} unchanged{left_out}")
    return "\n".join(lines)


def _case(before: Record | None, after: Record | None) -> Change | None:
    words = tuple(_words(before, after))
    known = after or before
    if known is None or not words:
        return None
    return Change(
        id=known.case.id,
        before=STATUS[before.status] if before else None,
        after=STATUS[after.status] if after else None,
        worse=_worse(before, after),
        words=words,
    )


def _worse(before: Record | None, after: Record | None) -> bool:
    if before is None:
        return after is not None and STATUS[after.status].blocks
    if after is None:
        return True
    if after.status == "skipped":
        return before.status not in _UNMEASURED
    return (STATUS[after.status].blocks and not STATUS[before.status].blocks) or _much_slower(before, after)


def _much_slower(before: Record, after: Record) -> bool:
    """Intervals apart, more than 5 us, and beyond the limit of the later run's own check, or 5 % where it has none."""
    clocks = _clocks(before, after)
    if clocks is None:
        return False
    old, new = clocks
    return new.ci95_ms[0] > old.ci95_ms[1] and new.p50_ms > max(_allowed(after) * old.p50_ms, old.p50_ms + 0.005)


def _allowed(after: Record) -> float:
    for check in after.checks:
        if check.name == "latency/regression" and check.limit and check.baseline:
            return check.limit / check.baseline
    return 1.05


def _clocks(before: Record, after: Record) -> tuple[Quantiles, Quantiles] | None:
    """The distributions of both on the clock that the later one was decided on."""
    if before.latency is None or after.latency is None:
        return None
    clock = after.latency.decided_on
    old, new = on_clock(before.latency, clock), on_clock(after.latency, clock)
    return (old, new) if old is not None and new is not None else None


def _words(before: Record | None, after: Record | None) -> Iterator[str]:
    if before is None and after is not None:
        yield f"only in the later run: {_status(after)}, {after.headline}"
    elif after is None and before is not None:
        yield f"vanished: was {_status(before)}"
    elif before is not None and after is not None:
        if _status(before) != _status(after):
            yield f"{_status(before)} → {_status(after)}: {after.headline}"
        yield from _latency(before, after)
        yield from _load(before, after)
        yield from _accuracy(before, after)
        drifted = between(accuracy_of(before), accuracy_of(after), after.case.precision)
        yield from (f"{found.words()}: drifted" for found in drifted)


def _status(record: Record) -> str:
    return f"{record.status} ({record.error.kind})" if record.error else record.status


def _latency(before: Record, after: Record) -> Iterator[str]:
    """Words about latency where the intervals of the two medians lie apart."""
    if before.latency is None or after.latency is None:
        return
    clock = after.latency.decided_on
    old, new = on_clock(before.latency, clock), on_clock(after.latency, clock)
    if old is None or new is None:
        yield f"timed on another clock: {before.latency.decided_on} → {clock}, the times cannot be compared"
        return
    slower, faster = new.ci95_ms[0] > old.ci95_ms[1], new.ci95_ms[1] < old.ci95_ms[0]
    if (slower or faster) and old.p50_ms > 0:
        how = f"{change(new.p50_ms / old.p50_ms)}, {'slower' if slower else 'faster'}"
        yield f"p50 {milliseconds(old.p50_ms)} → {milliseconds(new.p50_ms)} ({how}; {clock} clock)"


def _load(before: Record, after: Record) -> Iterator[str]:
    """Words about measures under load that changed by more than searches and windows differ by, or are no more."""
    for name in [name for name in before.measures if _LOAD.fullmatch(name)]:
        old, new = before.measures[name], after.measures.get(name)
        if old and new is None:
            yield f"{name}: was {number(old)}, is not measured any more"
        elif old and new is not None and not 1 / LOAD_ROOM <= new / old <= LOAD_ROOM:
            yield f"{name} {number(old)} → {number(new)} ({change(new / old)})"
    old, new = before.measures.get(_DROPS), after.measures.get(_DROPS)
    if old is not None and new is not None and abs(new - old) > DROPS_ROOM:
        yield f"{_DROPS} {number(100 * old)} → {number(100 * new)} %"


def _accuracy(before: Record, after: Record) -> Iterator[str]:
    """Words about measurements that got worse by as much as a reader can see."""
    known = {(check.name, check.output): check for check in before.checks if check.question in ACCURACY}
    for new in after.checks:
        if new.name.endswith("_drift"):  # that is against the baseline, and told beside
            continue
        old = known.get((new.name, new.output))
        if old is not None and old.value is not None and _got_worse(old, new):
            yield f"{label(new)} got worse: {number(old.value)} → {number(new.value)}"


def _got_worse(old: Check, new: Check) -> bool:
    if old.value is None or number(old.value) == number(new.value):
        return False
    if new.value is None:
        return True
    higher = higher_is_better(new)
    higher = higher_is_better(old) if higher is None else higher
    return higher is not None and (new.value < old.value) == higher


def _environments(a: Run, b: Run) -> Iterator[str]:
    for key in sorted({*a.environments, *b.environments}):
        before, after = a.environments.get(key), b.environments.get(key)
        if before is None or after is None:
            yield f"{key}: only in the {'later' if before is None else 'earlier'} run"
            continue
        old, new = _facts(before), _facts(after)
        for name in dict.fromkeys([*old, *new]):
            if old.get(name) != new.get(name):
                yield f"{name} {old.get(name, 'absent')} → {new.get(name, 'absent')}"


def _facts(environment: Environment) -> dict[str, str]:
    drivers = ", ".join(sorted({gpu.driver for gpu in environment.gpus}))
    facts = {"machine class": environment.fingerprint, "host": environment.host, "driver": drivers or "absent"}
    return {**facts, **environment.versions}
