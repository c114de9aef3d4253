"""The default budget limits of each precision, and which limits hold for one output.

The element-wise allowance is scaled by the root mean square of the reference output, so that it does not depend on
the unit of the output. fp32 stands at the geometric middle between what fp32 rounding does to a deep network (about
1e-6 to 1e-5 of the RMS) and what TF32 does to it (about 5e-4 and up). tf32 and fp16 share an 11-bit significand, bf16
has 8 bits: their allowances are some 40 to 60 units of roundoff. The cosine limits are OpenVINO's, the SQNR of
20 dB is Polygraphy's default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from harness.records import Limits, Plan

DEFAULTS: Mapping[str, Limits] = {
    "fp32": {"atol": 1e-4, "rtol": 1e-4, "cosine_min": 0.9999},
    "tf32": {"atol": 2e-2, "rtol": 2e-2, "cosine_min": 0.999},
    "fp16": {"atol": 3e-2, "rtol": 3e-2, "cosine_min": 0.995},
    "bf16": {"atol": 2e-1, "rtol": 2e-1, "cosine_min": 0.99},
    "int8": {"sqnr_min_db": 20.0},
    "fp8": {"sqnr_min_db": 10.0},
    "as-is": {"atol": 1e-4, "rtol": 1e-4, "cosine_min": 0.9999},
}
EXACT: Limits = {"exact": True}
CONDITIONED = ("fp32", "as-is")
"""Precisions whose defaults grow with the model's measured conditioning, where it is known."""
CONDITIONING_ROOM = 32
"""How many times the RMS of what healthy fp32 evaluations differ by an element may be off."""


CHANGED: Limits = {"sqnr_min_db": 10.0}
"""Where a variant changes the model on purpose: no more than a check that the outputs are still about the same."""


def conditioned(plan: Plan) -> bool:
    """Whether the default limits of a case grow with the measured conditioning."""
    return plan.case.precision in CONDITIONED and not plan.changed


def default_atol(atol: float, reference_rms: float, conditioning_rms: float | None) -> float:
    """max(atol RMS(r), 32 conditioning), in the unit of the output.

    The conditioning is the RMS of the differences between healthy fp32 evaluations of one model on one input: what no
    evaluation can be blamed for. Of outputs of a few thousand elements the worst is about four times the RMS off; the
    rest is room for kernels that add up in an order of their own.
    """
    return max(atol * reference_rms, CONDITIONING_ROOM * (conditioning_rms or 0.0))


def default_cosine(cosine_min: float, reference_rms: float, conditioning_rms: float | None) -> float:
    """The cosine limit for an error of that RMS: cos asin e = sqrt(1 - e^2), with e = 32 conditioning / RMS(r).

    Never below that of bf16: a model worse conditioned is not confirmed by outputs that are all wrong.
    """
    if not conditioning_rms:
        return cosine_min
    share = min(1.0, CONDITIONING_ROOM * conditioning_rms / reference_rms) if reference_rms else 1.0
    return min(cosine_min, max(float(DEFAULTS["bf16"]["cosine_min"]), math.sqrt(1 - share**2)))


def noise_share(plan: Plan) -> float:
    """The largest noise, as a share of the reference's root mean square, that the defaults of a case allow."""
    limits = CHANGED if plan.changed else DEFAULTS[plan.case.precision]
    return float(limits["atol"]) if "atol" in limits else float(10 ** (-float(limits["sqnr_min_db"]) / 20))


def is_exact(dtype: str) -> bool:
    """Whether values of a dtype are compared for equality by default: integers, booleans, strings."""
    return not dtype.startswith(("float", "bfloat", "complex"))


def explicit_limits(plan: Plan, output: str, *, exact: bool) -> Limits:
    """The suite's own limits for an output; empty where the defaults hold.

    Limits for all outputs are about numbers that rounding touches: integers, booleans and strings (`exact`) have only
    those that name the output.
    """
    own = plan.output_limits.get(output, {})
    return own if exact else {**plan.limits, **own}


def default_limits(plan: Plan, *, exact: bool) -> Limits:
    """The limits where the suite sets none; integers, booleans and strings must be equal.

    None at all where a variant changes the model on purpose and the suite says by a task what it must still do.
    """
    if plan.changed and plan.task is not None:
        return {}
    if exact:
        return EXACT
    return CHANGED if plan.changed else DEFAULTS[plan.case.precision]
