"""The confusion table of latency rules: false alarms, what is found, what is wrongly passed, what it costs."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from harness import stats
from harness.judge.launches import clean, mde
from harness.records import Duel
from quality.latency import trials
from quality.latency.rules import RULES, Rule
from quality.latency.stored import UNCHANGED, Cell
from quality.latency.trials import ALL_ARMS, GATES, Gate, Trial

Pair = list[int]
"""How many, of how many."""


@dataclass(frozen=True)
class Subject:
    """A rule in the form that the table needs."""

    name: str
    apart: Callable[[Cell, str], list[Trial]]
    """Disjoint decisions on an arm."""
    more: Callable[[Cell, str], list[Trial]]
    """Decisions drawn again, or overlapping."""
    suites: Callable[[Sequence[Cell], bool], int]
    """Clean suites with an alarm, drawn from one job or from all launches."""


def subjects(draws: int, suites: int) -> list[Subject]:
    """Every rule; `draws` decisions of the gate on each cell and arm, `suites` clean suites."""
    screens = [_screen(quantile, suites) for quantile in ("p10", "p50")]
    return [*(_gate(gate, draws, suites) for gate in GATES), *screens, *(_rule(rule, suites) for rule in RULES)]


def _gate(gate: Gate, draws: int, suites: int) -> Subject:
    return Subject(
        gate.name,
        lambda cell, arm: list(trials.disjoint(gate, cell, arm)),
        lambda cell, arm: list(trials.drawn(gate, cell, arm, draws, random.Random(1))),
        lambda cells, one_job: trials.clean_suites(gate, cells, suites, random.Random(2), one_job=one_job),
    )


def _screen(quantile: str, suites: int) -> Subject:
    return _windowed(f"harness screen, {quantile}", partial(trials.screened, quantile=quantile), suites)


def _rule(rule: Rule, suites: int) -> Subject:
    return _windowed(rule.name, partial(trials.compared, rule), suites)


def _windowed(name: str, decide: Callable[..., list[Trial]], suites: int) -> Subject:
    def suite(cells: Sequence[Cell], one_job: bool) -> int:
        found = [some for cell in cells if (some := decide(cell, UNCHANGED["window"], apart=False))]
        return trials.clean_suites_of(found, suites, random.Random(2), one_job=one_job) if found else 0

    def named(arm: str) -> str:
        return UNCHANGED["window"] if arm == UNCHANGED["turns"] else arm

    return Subject(
        name,
        lambda cell, arm: decide(cell, named(arm), apart=True),
        lambda cell, arm: decide(cell, named(arm), apart=False),
        suite,
    )


def summary(cells: Mapping[str, Cell], draws: int, suites: int) -> dict[str, Any]:
    """Everything that the tables tell; admitted cells and the others are counted apart."""
    gate = GATES[1]
    groups = {"admitted": [name for name, cell in cells.items() if trials.admitted(gate, cell)]}
    groups["not admitted"] = [name for name in cells if name not in groups["admitted"]]
    return {
        "cells": {name: _cell(cell) for name, cell in cells.items()},
        "groups": {
            group: {
                "cells": names,
                "rules": {
                    one.name: _counts(one, [cells[name] for name in names], suites) for one in subjects(draws, suites)
                },
            }
            for group, names in groups.items()
            if names
        },
    }


def _cell(cell: Cell) -> dict[str, Any]:
    """What A/A launches tell about a cell."""
    launches = cell.turns.get(UNCHANGED["turns"], ())
    ratios = [one.log_ratio for one in clean(Duel(tuple(launches), "", {}, ""))]
    sd = stats.spread(ratios)
    medians = sorted(one.a_p50_ms for one in launches)
    order = [stats.median(sorted(one.log_ratio for one in launches if one.first == first) or [0.0]) for first in "ab"]
    return {
        "launches": len(launches),
        "spoiled": len(launches) - len(ratios),
        "p50_ms": stats.median(medians) if medians else None,
        "sd": sd,
        "worst": max(map(abs, ratios), default=None),
        "mde": mde(sd) if len(ratios) > 1 else None,
        "order": (order[0] - order[1]) / 2,
        "windows sd": stats.spread([math.log(one.p50_ms) for one in cell.windows.get(UNCHANGED["window"], ())]),
    }


def _counts(rule: Subject, cells: Sequence[Cell], suites: int) -> dict[str, Any]:
    unchanged = UNCHANGED["turns"]
    apart = [trial for cell in cells for trial in rule.apart(cell, unchanged)]
    arms = {arm: [trial for cell in cells for trial in rule.more(cell, arm)] for arm in ALL_ARMS}
    separate = {arm: [trial for cell in cells for trial in rule.apart(cell, arm)] for arm in ALL_ARMS[1:]}
    clean_trials = apart or arms[unchanged]
    return {
        "disjoint": {unchanged: _alarms(apart), **{arm: _alarms(some) for arm, some in separate.items()}},
        "drawn": {arm: _alarms(some) for arm, some in arms.items()},
        "passed at 3 %": [sum(one.status in ("passed", "improved") for one in arms["s3"]), len(arms["s3"])],
        "inconclusive": [sum(one.status == "inconclusive" for one in clean_trials), len(clean_trials)],
        "launches": sum(one.launches for one in clean_trials) / len(clean_trials) if clean_trials else None,
        "suites": {name: [rule.suites(cells, one_job), suites] for name, one_job in (("one job", True), ("all", False))}
        if arms[unchanged]
        else {},
    }


def _alarms(found: Sequence[Trial]) -> Pair:
    return [sum(one.alarm for one in found), len(found)]


def markdown(found: Mapping[str, Any]) -> str:
    """The tables for people."""
    parts = [_cells(found["cells"])]
    for group, told in found["groups"].items():
        parts.append(f"## Cells {group}: {', '.join(told['cells'])}\n\n{_rules(told['rules'])}")
    return "\n\n".join(parts) + "\n"


def _cells(cells: Mapping[str, Any]) -> str:
    heads = ["cell", "median", "A/A launches", "spoiled", "sd", "worst", "mde", "made second", "sd of separate runs"]
    rows = [
        [
            name,
            "-" if one["p50_ms"] is None else f"{one['p50_ms']:.4g} ms",
            str(one["launches"]),
            str(one["spoiled"]),
            *(_percent(one[key], 2) for key in ("sd", "worst", "mde", "order", "windows sd")),
        ]
        for name, one in cells.items()
    ]
    return "## Cells, by their A/A launches\n\n" + _grid(heads, rows)


def _rules(rules: Mapping[str, Any]) -> str:
    arms = [arm for arm in ALL_ARMS if arm != UNCHANGED["turns"]]
    heads = ["rule", "A/A, disjoint", "A/A, drawn", *(_arm(arm) for arm in arms)]
    heads += ["passed at 3 %", "inconclusive", "launches a clean case", "clean suites, one job", "clean suites"]
    rows = []
    for name, one in rules.items():
        drawn = one["drawn"]
        cost = "-" if one["launches"] is None else f"{one['launches']:.2f}"
        rows.append(
            [
                name,
                _bounded(one["disjoint"][UNCHANGED["turns"]]),
                _share(drawn[UNCHANGED["turns"]]),
                *(_share(drawn[arm]) for arm in arms),
                _share(one["passed at 3 %"]),
                _share(one["inconclusive"]),
                cost,
                *(_share(one["suites"].get(key, [0, 0])) for key in ("one job", "all")),
            ]
        )
    return _grid(heads, rows)


def _arm(arm: str) -> str:
    return "tail" if arm == trials.TAIL else f"{trials.ARMS[arm]:.0%} slower"


def _bounded(pair: Pair) -> str:
    """Alarms, decisions, and the 95 % upper bound of the rate (Clopper-Pearson, one-sided)."""
    hits, count = pair
    if not count:
        return "-"
    from scipy.special import betaincinv

    bound = 1.0 if hits == count else float(betaincinv(hits + 1, count - hits, 0.95))
    return f"{hits}/{count} (below {bound:.2%})"


def _share(pair: Pair) -> str:
    return f"{pair[0] / pair[1]:.1%} of {pair[1]}" if pair[1] else "-"


def _percent(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}%}"


def _grid(heads: Sequence[str], rows: list[list[str]]) -> str:
    lines = [list(heads), ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
