"""tradeoffs.html: what `harness optimize` tried, shown as the report shows the builds of a model; one file as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.records import Case
from harness.report.page import whole
from harness.report.payload import alone
from harness.report.statuses import STATUS
from harness.report.tradeoffs import WORTHY, Option, tradeoff
from harness.report.variants import Tried

SCRIPTS = ("dom", "data", "filter", "charts", "table", "case", "tradeoffs", "theme", "search")


@dataclass(frozen=True)
class Search:
    """What was searched for, and where."""

    case: Case
    """Any of its cases: all have its model, backend and shape."""
    machine: str
    """The machine class."""
    metric: str
    """Of the task."""
    objective: str
    """"p50" or "size"."""
    max_drop: float
    command: str


def page(search: Search, trials: Sequence[Tried], winner: Tried | None) -> str:
    """The whole page; the first of the trials is the plain model."""
    case = search.case
    names = case.suite, case.model, case.shape, search.machine
    found = [_option(place, case.runs_on, one) for place, one in enumerate(trials)]
    clock = next((one.clock for one in trials if one.clock), "host")
    won = None if winner is None else next(place for place, one in enumerate(trials) if one is winner)
    weighed = tradeoff(names, search.metric, clock, found, winner=won)
    return whole(
        "search.html",
        SCRIPTS,
        alone([_row(case, one) for one in trials], [weighed]),
        won=winner is not None,
        glyph="★" if winner else "○",
        title=_title(search, winner),
        reason=f"{len(trials)} builds of {case.model} were tried, {sum(one.status in WORTHY for one in trials)} hold.",
        facts=_facts(search),
    )


def _title(search: Search, winner: Tried | None) -> str:
    best, better = ("fastest", "faster") if search.objective == "p50" else ("smallest", "smaller")
    return (
        f"The {best} that holds: {winner.name}" if winner else f"Nothing that holds is {better} than the model as it is"
    )


def _facts(search: Search) -> Mapping[str, str]:
    case = search.case
    return {
        "model": case.model,
        "backend": case.runs_on,
        "shape": case.shape,
        "machine": search.machine,
        "accuracy": f"{search.metric} at most {search.max_drop:g} worse than the plain model's",
        "command": search.command,
    }


def _option(place: int, backend: str, one: Tried) -> Option:
    return Option(
        place=place,
        backend=backend,
        precision=one.precision,
        chain=one.steps,
        worthy=one.status in WORTHY,
        accuracy=one.accuracy,
        window=one.window,
        bytes=one.bytes,
    )


def _row(case: Case, one: Tried) -> Mapping[str, object]:
    window = one.window
    low, high = window.ci95_ms if window else (None, None)
    return {
        "id": one.name,
        "suite": case.suite,
        "model": case.model,
        "backend": case.runs_on,
        "precision": one.name,
        "shape": case.shape,
        "tags": (),
        "status": STATUS[one.status].rank,
        "headline": one.why,
        "clock": one.clock,
        "p50_ms": one.p50_ms,
        "low_ms": low,
        "high_ms": high,
    }
