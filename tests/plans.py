"""A plan with nothing special about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.records import Case, LatencyPlan, Location, Plan, Reference, Source

CASE = Case("s/m/fake/fp32/static", "s", "m", "fake", "fp32", "static", (), Location("s.yaml", 3))
PLAN = Plan(
    case=CASE,
    source=Source("file", "/nowhere/m.onnx"),
    dimensions={},
    shapes=({},),
    profile=None,
    files={},
    inputs={},
    calibration=None,
    reference=Reference(),
    limits={},
    output_limits={},
    task=None,
    latency=LatencyPlan(),
    options={},
)


def plan(precision: str = "fp32", chain: tuple[str, ...] = (), **changes: Any) -> Plan:
    """The plan at a precision, with fields changed."""
    return replace(PLAN, case=replace(CASE, precision=precision, chain=chain), **changes)
