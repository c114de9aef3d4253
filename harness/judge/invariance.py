"""Invariance checks: what a row gives depends neither on its place in the batch nor on how many rows there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.judge.fidelity import limits_at
from harness.records import Check, Measurement, Plan

FLIPS = "_flips"
"""Ends the name of a metric that counts elements of outputs that are no floats."""
WORDS: Mapping[str, str] = {
    "batch_position": "with its rows in reversed order",
    "batch_padding": "without its last row",
}
"""How the first batch was run again; an output is compared row by row with the first run."""
TWICE = 2.0
"""Two runs that are each within the limit on a slice of the precision twin are no further apart than twice it."""


def judge_invariance(plan: Plan, measurements: Sequence[Measurement]) -> list[Check]:
    """Checks of every output whose rows are independent of each other in the precision twin."""
    limit = TWICE * limits_at(plan.case.precision, plan.fidelity.slack)["twin_slice"]
    found = [(m, m.metric.removesuffix(FLIPS)) for m in measurements]
    return [_check(m, name, 0.0 if m.metric.endswith(FLIPS) else limit) for m, name in found if name in WORDS]


def _check(measured: Measurement, name: str, limit: float) -> Check:
    value = measured.value
    ok = value is not None and value <= limit
    run = f"the batch {WORDS[name]} gives"
    if value is None:
        reason = f"{run} something else ({measured.detail})"
    elif measured.metric.endswith(FLIPS):
        reason = f"{run} {value:g} other elements" if value else f"{run} the same"
    else:
        alone = f"rounding alone moves the output by {measured.settings['noise_rms']:.3g}"
        noise = f"(limit {limit:g}; {alone})"
        reason = f"{run} rows that differ by {value:.4g} times what rounding does to this file here {noise}"
        reason += f", most at {measured.detail}" if value else ""
    return Check(
        f"{measured.output}/{name}", "fidelity", measured.output, measured.metric, value, limit, None, ok, reason
    )
