"""One section per case: what was asked, what was measured, and how to run it alone."""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from harness.records import Quantiles
from harness.report.format import excerpt, quantity, value_text
from harness.report.rows import Row
from harness.report.sections import Page
from harness.report.sections.layers import Layers, layers
from harness.report.sections.strip import Strip, strip

INLINE = 300
"""Cases that stand in the page as they are; the rest travel packed and are unpacked when opened."""
_FOLDED = frozenset({"passed", "improved", "new", "skipped"})

Facts = list[tuple[str, str]]


@dataclass(frozen=True)
class Time:
    """One line of the latency table."""

    clock: str
    whose: str
    quantiles: Quantiles


@dataclass(frozen=True)
class Detail:
    """Everything that the template of one case shows."""

    row: Row
    times: list[Time]
    strip: Strip | None
    layers: Layers | None
    facts: list[tuple[str, Facts]]
    log: str


@dataclass(frozen=True)
class Fold:
    """A case with its body; None where the body travels packed."""

    row: Row
    open: bool
    body: Markup | None


@dataclass(frozen=True)
class Cases:
    """All cases in reading order; `packed` is base64 of deflated JSON, id to body."""

    folds: list[Fold]
    packed: str
    inline: int = INLINE


def section(page: Page) -> Cases:
    """The case sections of the run."""
    bodies = [page.render("case.html", detail=detail(row)) for row in page.rows]
    folds = [
        Fold(row, row.status.name not in _FOLDED and place < INLINE, body if place < INLINE else None)
        for place, (row, body) in enumerate(zip(page.rows, bodies, strict=True))
    ]
    packed = {row.record.case.id: body for row, body in zip(page.rows[INLINE:], bodies[INLINE:], strict=True)}
    return Cases(folds, b64encode(zlib.compress(json.dumps(packed).encode())).decode() if packed else "")


def detail(row: Row) -> Detail:
    """What one case shows; the log of a passing case is never kept."""
    record = row.record
    latency = record.latency
    digests = {name: getattr(record.digests, name) for name in ("model", "variant", "engine", "inputs")}
    facts = {
        "Measures": [quantity(name, value) for name, value in record.measures.items()],
        "Stages": [quantity(name, value) for name, value in record.stages.items()],
        "Timing": _facts(latency.settings if latency else {}),
        "Attested": _facts(_attested(record.attested)),
        "Digests": _facts({name: digest[:16] for name, digest in digests.items() if digest}),
    }
    return Detail(
        row=row,
        times=_times(row),
        strip=strip(row),
        layers=layers(record),
        facts=[(title, found) for title, found in facts.items() if found],
        log=excerpt(record.error.log) if record.error and row.status.name != "passed" else "",
    )


def _facts(values: Mapping[str, Any]) -> Facts:
    return [
        quantity(name, value)
        if isinstance(value, float | int) and not isinstance(value, bool)
        else (name.replace("_", " "), value_text(value))
        for name, value in values.items()
    ]


def _attested(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was attested, layers counted in words; the single ones stay in run.json."""
    counted = {
        name: ", ".join(
            f"{group.get('count')} {group.get('kind')} {group.get('compute')} (stores {group.get('storage')})"
            for group in values[name]
            if isinstance(group, Mapping)
        )
        for name in ("layers", "network")
        if isinstance(values.get(name), list) and values[name]
    }
    return {name: value for name, value in values.items() if name not in ("rows", "layers", "network")} | counted


def _times(row: Row) -> list[Time]:
    """Each clock's quantiles with the baseline's below; the clock that decides comes first."""
    now, before = row.record.latency, row.record.baseline
    clocks = sorted(("host", "gpu"), key=lambda clock: clock != row.clock)
    return [
        Time(clock, whose, quantiles)
        for clock in clocks
        for whose, latency in (("now", now), ("baseline", before))
        if latency and (quantiles := getattr(latency, clock))
    ]
