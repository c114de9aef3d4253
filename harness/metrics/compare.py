"""Measures a candidate's outputs against the reference: structure first, then every metric that applies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from harness.metrics import METRICS, bound
from harness.metrics.base import Metric, Tensor
from harness.metrics.defaults import conditioned, default_atol, default_limits, explicit_limits, is_exact, noise_share
from harness.metrics.elementwise import Allowance
from harness.metrics.moments import Moments
from harness.metrics.passes import Asked, reference_rms, unequal, whole
from harness.metrics.pieces import Pair
from harness.metrics.plugins import installed
from harness.records import Limits, Measurement, Plan

Outputs = Mapping[str, Tensor]


def compare(
    plan: Plan,
    reference: Sequence[Outputs],
    candidate: Sequence[Outputs],
    conditioning: Mapping[str, float] | None = None,
) -> tuple[Measurement, ...]:
    """Everything measured about all outputs over all batches; the two sequences hold one mapping a batch.

    `conditioning` holds, by output and in its unit, the RMS of the differences between healthy fp32 evaluations of the
    model on these inputs; it is kept as the measurement "conditioning_rms", and the defaults of fp32 grow with it.
    """
    names = list(reference[0]) if reference else []
    measured = _names(names, reference, candidate)
    for name in names:
        if all(name in outputs for outputs in candidate):
            rms = (conditioning or {}).get(name)
            measured += _output(plan, name, [r[name] for r in reference], [c[name] for c in candidate], rms)
    return tuple(measured)


def _names(names: list[str], reference: Sequence[Outputs], candidate: Sequence[Outputs]) -> list[Measurement]:
    measured = [Measurement(None, "batches", abs(len(candidate) - len(reference)), detail=f"{len(candidate)} batches")]
    got = {name for outputs in candidate for name in outputs}
    missing = [name for name in names if not all(name in outputs for outputs in candidate)]
    extra = sorted(got - set(names))
    measured.append(Measurement(None, "missing_outputs", len(missing), detail=", ".join(missing)))
    measured.append(Measurement(None, "extra_outputs", len(extra), detail=", ".join(extra)))
    return measured


def _output(
    plan: Plan, name: str, reference: list[Tensor], candidate: list[Tensor], conditioning_rms: float | None
) -> list[Measurement]:
    pairs = list(zip(reference, candidate, strict=False))
    unlike = [(r.shape, c.shape) for r, c in pairs if r.shape != c.shape]
    detail = f"expected {list(unlike[0][0])}, found {list(unlike[0][1])}" if unlike else str(list(reference[0].shape))
    measured = [Measurement(name, "shape_mismatches", len(unlike), detail=detail)]
    if unlike:
        return measured
    expected, found = reference[0].dtype, candidate[0].dtype
    detail = expected.name if expected == found else f"expected {expected.name}, found {found.name}"
    dtypes: dict[str, float | str] = {"expected": expected.name, "found": found.name}
    measured.append(Measurement(name, "dtype_mismatches", float(expected != found), dtypes, detail))
    if expected.kind != found.kind and {expected.kind, found.kind} & set("cOUST"):
        return measured  # complex numbers or strings against others: there is no difference to speak of
    exact = is_exact(expected.name)
    if exact:
        measured += _equality(name, pairs)
    if not exact or (explicit_limits(plan, name, exact=True) and expected.kind not in "OUST"):
        measured += _numbers(plan, name, pairs, conditioning_rms, exact=exact)
    return measured


def _equality(name: str, pairs: Sequence[Pair]) -> list[Measurement]:
    different, size = unequal(pairs), sum(r.size for r, _ in pairs)
    return [
        Measurement(name, "mismatches", different, detail=f"of {size} elements"),
        Measurement(name, "mismatch_share", different / size if size else 0.0, detail="not equal"),
    ]


def _numbers(
    plan: Plan, name: str, pairs: Sequence[Pair], conditioning_rms: float | None, *, exact: bool
) -> list[Measurement]:
    explicit = explicit_limits(plan, name, exact=exact)
    limits = explicit or default_limits(plan, exact=exact)
    plain = _tolerance_settings(limits)

    def in_unit(moments: Moments) -> dict[str, float | str]:
        if explicit or not plain:
            return plain
        scale = moments.reference_rms if moments.all_finite else reference_rms(pairs)
        return _scaled(plain, scale, conditioning_rms if conditioned(plan) else None)

    def allowance(moments: Moments) -> Allowance:
        settings = in_unit(moments)
        return Allowance(str(settings["rule"]), float(settings["atol"]), float(settings["rtol"]))

    asked = Asked(_metrics(limits), limits, allowance if plain else None, noise_share(plan))
    moments, values = whole(pairs, asked)
    settings = in_unit(moments)
    measured = [
        _nonfinite(name, moments),
        Measurement(name, "nothing_finite", float(0 < moments.size == moments.both_nan)),
        *(Measurement(name, one.metric, _finite(one.value), one.settings, one.detail) for one in values),
    ]
    if conditioning_rms is not None:
        measured.append(Measurement(name, "conditioning_rms", conditioning_rms))
    if settings:
        measured += _tolerance(name, moments, settings, [r for r, _ in pairs])
    if limits.get("exact") and not exact:
        measured += _equality(name, pairs)
    return measured


def _metrics(limits: Limits) -> list[Metric]:
    """Every metric, but of those that make sense for few outputs only the ones that limits name."""
    named = {bounds.metric for bounds in map(bound, limits) if bounds}
    metrics: list[Metric] = [*(METRICS.load(name) for name in METRICS), *installed().values()]
    return [metric for metric in metrics if metric.name in named or not metric.on_request]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _nonfinite(name: str, moments: Moments) -> Measurement:
    """How many elements are not finite without being the same in both."""
    detail = ""
    if moments.first:
        index, expected, found = moments.first
        detail = f"first at flat index {index}: expected {expected:g}, found {found:g}"
    elif moments.finite < moments.size:
        absent = moments.size - moments.finite
        detail = f"{absent} of {moments.size} elements are NaN or infinite in both, and not compared otherwise"
    return Measurement(name, "nonfinite", float(moments.unlike), detail=detail)


def _tolerance_settings(limits: Limits) -> dict[str, float | str]:
    if "atol" not in limits and "rtol" not in limits:
        return {}
    rule = str(limits.get("rule", "sum"))
    return {"rule": rule, "atol": float(limits.get("atol", 0.0)), "rtol": float(limits.get("rtol", 0.0))}


def _scaled(
    settings: Mapping[str, float | str], scale: float, conditioning_rms: float | None
) -> dict[str, float | str]:
    """The element-wise limits of the defaults in the unit of the output."""
    atol = default_atol(float(settings["atol"]), scale, conditioning_rms)
    scaled = {**settings, "atol": atol, "scaled": scale}
    return scaled if conditioning_rms is None else {**scaled, "conditioning_rms": conditioning_rms}


def _tolerance(
    name: str, moments: Moments, settings: dict[str, float | str], reference: Sequence[Tensor]
) -> list[Measurement]:
    worst, detail = moments.worst, ""
    if worst is not None:
        place = _place(worst.index, reference)
        detail = f"worst element {place}: expected {worst.expected:.6g}, found {worst.found:.6g}"
    ratio = _finite(worst.ratio) if worst else 0.0
    share = moments.beyond / moments.finite if moments.finite else 0.0
    return [
        Measurement(name, "tolerance_ratio", ratio, settings, detail),
        Measurement(name, "mismatch_share", share, settings, detail),
    ]


def _place(index: int, batches: Sequence[Tensor]) -> object:
    """The index of an element counted over all batches: in their tensors joined along axis 0, else in all, flat."""
    if batches[0].dtype.kind == "c":
        index //= 2  # its real and its imaginary part were compared
    first = batches[0]
    if len(batches) > 1 and (not first.ndim or len({batch.shape[1:] for batch in batches}) > 1):
        return index
    shape = (sum(len(batch) for batch in batches), *first.shape[1:]) if first.ndim else ()
    return [int(i) for i in np.unravel_index(index, shape)]
