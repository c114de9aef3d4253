"""The default budget limits of each precision, and which limits hold for one output.

The element-wise allowance is scaled by the root mean square of the reference output, so that it does not depend on
the unit of the output. fp32 stands at the geometric middle between what fp32 rounding does to a deep network (about
1e-6 to 1e-5 of the RMS) and what TF32 does to it (about 5e-4 and up). tf32 and fp16 share an 11-bit significand, bf16
has 8 bits: their allowances are some 40 to 60 units of roundoff. The cosine limits are OpenVINO's, the SQNR of
20 dB is Polygraphy's default.
"""

from __future__ import annotations

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


def noise_share(precision: str) -> float:
    """The largest noise, as a share of the reference's root mean square, that the defaults of a precision allow."""
    limits = DEFAULTS[precision]
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


def default_limits(precision: str, *, exact: bool) -> Limits:
    """The limits where the suite sets none; integers, booleans and strings must be equal."""
    return EXACT if exact else DEFAULTS[precision]
