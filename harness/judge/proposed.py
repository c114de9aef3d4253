"""Limits for a model that has none yet: what was measured, with a margin, and never finer than rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal

from harness.judge.accuracy import exact_outputs
from harness.judge.drift import PRECISE
from harness.metrics.defaults import DEFAULTS
from harness.records import Check, Measurement

TIMES = 2.0
"""A limit on an error is this many times the measured one."""
DECIBELS = 3.0
"""And one on a ratio of powers this far below."""
ROUNDING: Mapping[str, float] = {**PRECISE, "fp32": 1e-5, "as-is": 1e-5}
"""Relative errors that another machine may make by rounding alone; in fp32 those of a deep network's sums."""
LARGEST = 4.0
"""How many times the root mean square the largest of many errors is, where it is not known."""
COSINE = 1e-6
"""Distances of the cosine from 1 below this are not told apart."""


@dataclass(frozen=True)
class Case:
    """What one case measured at the precision in question."""

    name: str
    measurements: Sequence[Measurement]


@dataclass(frozen=True)
class Proposed:
    """One limit, and what it comes from."""

    name: str
    value: float
    why: str


def hidden_by_no_limit(checks: Iterable[Check]) -> list[Check]:
    """The checks that fail and that no limit on errors may make pass: structure, fidelity and attestation."""
    return [check for check in checks if not check.ok and check.question in ("fidelity", "attestation")]


def propose(precision: str, cases: Sequence[Case], rounds_as: str | None = None) -> dict[str, list[Proposed]]:
    """Limits by output for one precision, from the worst of its cases; nothing where the defaults say it already.

    The cases were measured without limits of their own. `rounds_as` is the precision of a file that runs as it is.
    """
    rounding = ROUNDING[rounds_as or precision]
    exact = {output for case in cases for output in exact_outputs(case.measurements)}
    outputs = dict.fromkeys(m.output for case in cases for m in case.measurements if m.output)
    made = {
        name: _exact(_Seen(name, cases)) if name in exact else _numbers(_Seen(name, cases), precision, rounding)
        for name in outputs
    }
    return {name: limits for name, limits in made.items() if limits}


@dataclass(frozen=True)
class _Seen:
    """Everything measured about one output."""

    output: str
    cases: Sequence[Case]

    def worst(self, metric: str, error: Callable[[float], float] = float) -> tuple[float, str] | None:
        """The largest error by a metric, and its case; None where a case lacks it: it would fail by that."""
        found = [
            (case.name, m.value)
            for case in self.cases
            for m in case.measurements
            if (m.output, m.metric) == (self.output, metric)
        ]
        known = [(error(value), name) for name, value in found if value is not None]
        return max(known, default=None) if len(known) == len(self.cases) else None

    def scale(self) -> float:
        """The largest root mean square of the reference output, by which default limits are scaled."""
        found = [m.settings.get("scaled", 0.0) for c in self.cases for m in c.measurements if m.output == self.output]
        return max(float(value) for value in found)


def _numbers(seen: _Seen, precision: str, rounding: float) -> list[Proposed]:
    if "sqnr_min_db" in DEFAULTS[precision]:
        limits = [_sqnr(seen, rounding), _cosine(seen)]
    else:
        limits = [
            _error("rmse_rel_max", seen.worst("rmse_rel"), rounding),
            _error("max_abs", seen.worst("max_abs"), LARGEST * rounding * seen.scale()),
            _cosine(seen),
        ]
    return [limit for limit in limits if limit]


def _error(name: str, worst: tuple[float, str] | None, least: float) -> Proposed | None:
    """A limit on an error of which `least` may be rounding."""
    if worst is None or not max(worst[0], least):
        return None
    return Proposed(name, up(TIMES * max(worst[0], least)), _why(*worst, less=worst[0] < least))


def _cosine(seen: _Seen) -> Proposed | None:
    worst = seen.worst("cosine", lambda value: 1 - value)
    if worst is None:
        return None
    apart = Decimal(repr(up(TIMES * max(worst[0], COSINE))))  # 1 - 2e-06 is not the float that 0.999998 is
    why = _why(max(worst[0], 0.0), worst[1], less=worst[0] < COSINE, what="1 - cosine ")
    return Proposed("cosine_min", max(-1.0, float(1 - apart)), why)


def _sqnr(seen: _Seen, rounding: float) -> Proposed | None:
    worst = seen.worst("sqnr_db", lambda value: -value)
    if worst is None:
        return None
    decibels, most = -worst[0], -20 * math.log10(rounding)
    limit = -up(DECIBELS - min(decibels, most))
    return Proposed("sqnr_min_db", limit, _why(decibels, worst[1], less=decibels > most))


def _exact(seen: _Seen) -> list[Proposed]:
    """Integers must be equal by default; where some are not, a share of them may differ."""
    worst = seen.worst("mismatch_share")
    if worst is None or worst[0] == 0:
        return []
    why = _why(*worst, less=False)
    return [Proposed("mismatch_share_max", min(1.0, up(TIMES * worst[0])), why)]


def _why(value: float, case: str, *, less: bool, what: str = "") -> str:
    return f"measured {what}{value:.3g} ({case})" + (
        "; rounding alone may make more, which the limit allows" if less else ""
    )


def up(value: float) -> float:
    """The value in two significant digits, never below it."""
    # by its digits: 0.4 is a little more than 0.40, and would become 0.41
    return float(Context(prec=2, rounding=ROUND_CEILING).create_decimal(Decimal(repr(value))))
