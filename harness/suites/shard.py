"""`--shard I/N`: the same parts on every machine, balanced by the seconds that cases are expected to take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from harness import stats
from harness.records import Plan

Unit = Sequence[Plan]
"""Cases that stay together: they share files, references and engines."""


def share(plans: Sequence[Plan], shard: tuple[int, int], seconds: Mapping[str, float]) -> list[Plan]:
    """Part I (from 1) of N of the plans, in their order; empty where there are fewer cases than parts.

    A model is not divided, unless it takes more than a fair share. The heaviest unit goes to the part that has least
    so far (longest processing time first; Graham 1969: at most 4/3 of the best). `seconds` are by case id; a case that
    is not there counts like the median of the others.
    """
    number, parts = shard
    cost = _costs(plans, seconds)
    loads = [(0.0, 0, part) for part in range(parts)]
    mine: set[str] = set()
    for unit in units(plans, parts, seconds):
        load, count, part = min(loads)
        loads[part] = (load + _load(unit, cost), count + 1, part)
        mine |= {plan.case.id for plan in unit} if part == number - 1 else set()
    return [plan for plan in plans if plan.case.id in mine]


def units(plans: Sequence[Plan], parts: int, seconds: Mapping[str, float]) -> list[Unit]:
    """All plans in units, as for that many parts, the heaviest first."""
    cost = _costs(plans, seconds)
    return sorted(_units(plans, parts, cost), key=lambda unit: -_load(unit, cost)) if plans else []


def _costs(plans: Sequence[Plan], seconds: Mapping[str, float]) -> dict[str, float]:
    known = sorted(seconds[plan.case.id] for plan in plans if plan.case.id in seconds)
    usual = stats.median(known) if known else 1.0
    return {plan.case.id: seconds.get(plan.case.id, 0.0 if plan.excluded else usual) for plan in plans}


def _load(unit: Unit, cost: Mapping[str, float]) -> float:
    return math.fsum(cost[plan.case.id] for plan in unit)


def _units(plans: Sequence[Plan], parts: int, cost: Mapping[str, float]) -> list[Unit]:
    """Models, in pieces where they are heavier than a fair share; one for each part where there are cases enough."""
    models: dict[tuple[str, str], list[Plan]] = {}
    for plan in plans:
        models.setdefault((plan.case.suite, plan.case.model), []).append(plan)
    fair = _load(plans, cost) / parts
    units = [piece for model in models.values() for piece in _pieces(model, fair, cost)]
    while len(units) < min(parts, len(plans)):
        at = max(range(len(units)), key=lambda at: (len(units[at]) > 1, _load(units[at], cost), len(units[at]), -at))
        half = len(units[at]) // 2
        units[at : at + 1] = [units[at][:half], units[at][half:]]
    return units


def _pieces(model: Unit, fair: float, cost: Mapping[str, float]) -> list[Unit]:
    """A model in as few pieces of neighbours as stay within a fair share, of about the same weight."""
    load = _load(model, cost)
    if load <= fair or len(model) == 1:
        return [model]
    each = load / math.ceil(load / fair)
    pieces: list[list[Plan]] = [[]]
    for plan in model:
        if pieces[-1] and _load([*pieces[-1], plan], cost) > each * (1 + 1e-9):
            pieces.append([])
        pieces[-1].append(plan)
    return [tuple(piece) for piece in pieces]
