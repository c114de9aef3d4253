"""The cases of a run as they travel in the page: deflated JSON in base64, details apart so that few are unpacked.

The index holds one short row a case, enough to filter, sort and draw tables; details stand in chunks of `CHUNK` cases
in the order of the index. Numbers have as many digits as are ever shown, which does more than the compression.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from harness.codec import encode
from harness.history.unstable import DEFINITION
from harness.records import Check, Deviations, Failure, Latency, Measurement, Quantiles, Record
from harness.report.format import excerpt
from harness.report.fusion import fusion
from harness.report.layers import layers
from harness.report.packing import RULES, STATUSES, TINY_MS, WEIGHED, Payload, deflated, packed, short
from harness.report.rows import Row, label, on_clock
from harness.report.sections import Page
from harness.report.tradeoffs import Tradeoff
from harness.report.trend import Past, Point

CHUNK = 100
"""Cases whose details are unpacked together: a few milliseconds of work for one that is opened."""
LARGE = 2000
"""Of runs with more cases, those that passed travel without what decided nothing: run.json has it."""
UNLOGGED = frozenset({"passed", "improved", "new", "skipped"})
"""Statuses whose cases travel without a log."""
QUIET = ("passed", "", "")
"""What most points of a trend say."""
DIGEST = 12
"""Characters of a digest that are shown."""
MOST_LOG = 20.0
"""Changes are drawn up to this: beyond it a file was damaged, and numbers end."""

ROW = (
    *("id", "suite", "model", "backend", "precision", "shape", "tags", "status", "headline", "environment"),
    *("clock", "p50_ms", "low_ms", "high_ms", "baseline_ms", "ratio", "check", "unstable"),
)
CHECK = tuple(field.name for field in fields(Check))
MEASUREMENT = tuple(field.name for field in fields(Measurement))
DEVIATIONS = ("output", "size", "equal", "low", "counts", "worst")


def payload(page: Page) -> Payload:
    """Everything about the cases that the page's script draws from."""
    run, rows, past = page.run, page.rows, page.past
    large = len(rows) > LARGE
    index = {
        "run": {name: getattr(run, name) for name in ("schema", "id", "started", "finished", "commit", "command")},
        "statuses": STATUSES,
        "environments": encode(run.environments),
        "fields": {
            "rows": ROW,
            "checks": CHECK,
            "measurements": MEASUREMENT,
            "deviations": DEVIATIONS,
            **WEIGHED,
        },
        "rules": RULES,
        "past": [[one.id, one.started, one.commit] for one in past.runs],
        "chunk": CHUNK,
        "unstable": DEFINITION if past.unstable else "",
        "rows": [_row(row, past) for row in rows],
        "tradeoffs": [packed(one) for one in page.tradeoffs],
    }
    details = [_detail(row.record, past, light=large and row.record.status == "passed") for row in rows]
    chunks = (details[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
    return Payload(deflated(index), tuple(deflated(chunk) for chunk in chunks))


def alone(rows: Sequence[Mapping[str, Any]], found: Sequence[Tradeoff]) -> Payload:
    """Trade-offs and what stands in their rows, without details; a row says what it has of `ROW`."""
    index = {
        "statuses": STATUSES,
        "fields": {"rows": ROW, **WEIGHED},
        "rules": RULES,
        "rows": [[row.get(name) for name in ROW] for row in rows],
        "tradeoffs": [packed(one) for one in found],
    }
    return Payload(deflated(index), ())


def _row(row: Row, past: Past) -> list[Any]:
    record, case = row.record, row.record.case
    now, check = on_clock(record.latency, row.clock), row.worst
    low, high = now.ci95_ms if now else (None, None)
    flipping = past.unstable.get(case.id)
    return [
        *(case.id, case.suite, case.model, case.runs_on, case.built_as, case.shape, case.tags),
        *(row.status.rank, record.headline, record.environment, row.clock),
        # what was rounded to five digits may end otherwise when it is rounded to four, as in headlines
        *(short(row.p50_ms, 7), short(low, 5), short(high, 5), short(row.baseline_p50_ms, 7)),
        None if row.ratio is None else round(row.ratio, 5),
        [label(check), short(check.value), short(check.limit), check.ok] if check else None,
        flipping.words if flipping else None,
    ]


def _detail(record: Record, past: Past, *, light: bool) -> dict[str, Any]:
    """A record nearly in the form of run.json, tables as rows of values, without what is empty."""
    case = record.case
    shown = {
        "checks": [_check(one) for one in record.checks],
        "latency": _latency(record.latency, light=light),
        "baseline": _latency(record.baseline, light=light),
        "measures": _short(record.measures),
        "attested": _attested(record.attested),
        "digests": {name: digest[:DIGEST] for name, digest in vars(record.digests).items() if digest},
        "error": _error(record, record.error),
        "earlier": [_error(record, one) for one in record.earlier],
        "attempts": record.attempts,
        "reproduce": record.reproduce,
        "reference": record.reference,
        "notes": record.notes,
        "location": f"{case.location.file}:{case.location.line}",
        "launches": _launches(record),
        "screening": _screening(record),
        "why_stored": record.why_stored,
        "layers": layers(record),
        "past": _past(past.of(case.id)),
        "light": light,
    }
    if not light:
        shown["stages"] = _short(record.stages)
        shown["fusion"] = fusion(record)
        shown["measurements"] = [
            [one.output, one.metric, short(one.value), _short(one.settings), one.detail] for one in record.measurements
        ]
        shown["deviations"] = [_deviations(one) for one in record.deviations]
    return {name: value for name, value in shown.items() if value}


def _check(one: Check) -> list[Any]:
    numbers = short(one.value), short(one.limit), short(one.baseline)
    return [one.name, one.question, one.output, one.metric, *numbers, one.ok, one.reason]


def _latency(latency: Latency | None, *, light: bool) -> dict[str, Any] | None:
    if latency is None:
        return None
    clocks = {clock: getattr(latency, clock) for clock in ("host", "gpu")}
    kept = {
        clock: _quantiles(found)
        for clock, found in clocks.items()
        if found and (not light or clock == latency.decided_on)
    }
    return {**kept, "decided_on": latency.decided_on, "settings": dict(latency.settings)}


def _quantiles(found: Quantiles) -> dict[str, Any]:
    spread = found.spread
    return {
        **{name: short(getattr(found, name)) for name in ("p10_ms", "p50_ms", "p90_ms", "p99_ms", "mean_ms")},
        "ci95_ms": [short(ms) for ms in found.ci95_ms],
        "samples": found.samples,
        "spread": spread and {name: short(getattr(spread, name)) for name in ("q1_ms", "q3_ms", "max_ms")},
    }


def _error(record: Record, error: Failure | None) -> dict[str, str] | None:
    if error is None:
        return None
    log = "" if record.status in UNLOGGED else excerpt(error.log)
    return {"kind": error.kind, "stage": error.stage, "message": error.message, "log": log}


def _launches(record: Record) -> dict[str, Any] | None:
    """Launches in turns: the relative change of each, and why it is no evidence where it is none."""
    duel = record.duel
    if duel is None:
        return None
    dots = [[short(math.expm1(min(one.log_ratio, MOST_LOG))), one.spoiled or ""] for one in duel.launches]
    return {"dots": dots, "against": duel.against, "failures": duel.failures}


def _screening(record: Record) -> dict[str, Any] | None:
    found = record.screening
    if found is None:
        return None
    sides = {"history": found.history, "now": found.now}
    times = {name: [short(one.value_ms) for one in values] for name, values in sides.items()}
    return {"quantile": found.quantile, "failures": found.failures, "broken": found.broken, **times}


def _past(points: Sequence[Point | None]) -> dict[str, Any] | None:
    """Times as ten thousandths beside the first; None without one. What is to say of single points stands apart."""
    base = next((point[0] for point in points if point and (point[0] or 0) > TINY_MS), None)
    if base is None:
        return None
    return {
        "base_ms": base,
        "steps": [round((point[0] / base - 1) * 1e4) if point and point[0] else None for point in points],
        "words": {at: point[1:] for at, point in enumerate(points) if point and (point[1:] != QUIET or not point[0])},
    }


def _attested(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was attested, layers counted in words; the single ones stand with their times, and in run.json."""
    counted = {
        name: ", ".join(
            f"{group.get('count')} {group.get('kind')} {group.get('compute')} (stores {group.get('storage')})"
            for group in values[name]
            if isinstance(group, Mapping)
        )
        for name in ("layers", "network")
        if isinstance(values.get(name), list) and values[name]
    }
    others = {name: encode(value) for name, value in values.items() if name not in ("rows", "layers", "network")}
    return others | counted


def _deviations(found: Deviations) -> list[Any]:
    """How many elements are off by each power of two, from the lowest to the highest that there is, and the worst."""
    counts = {int(power): count for power, count in found.counts.items()}
    low, high = min(counts, default=0), max(counts, default=-1)
    worst = [[one.batch, one.place, one.expected, one.found, short(one.error)] for one in found.worst]
    return [found.output, found.size, found.equal, low, [counts.get(at, 0) for at in range(low, high + 1)], worst]


def _short(values: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): short(value) if type(value) is float else encode(value) for name, value in values.items()}
