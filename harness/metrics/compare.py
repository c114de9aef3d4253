"""Measures a candidate's outputs against the reference: structure first, then every metric that applies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from harness.metrics import METRICS
from harness.metrics.base import Metric, Tensor, Values
from harness.metrics.defaults import default_limits, explicit_limits, is_exact
from harness.metrics.elementwise import mismatches, tolerance
from harness.records import Limits, Measurement, Plan

Outputs = Mapping[str, Tensor]


def compare(plan: Plan, reference: Sequence[Outputs], candidate: Sequence[Outputs]) -> tuple[Measurement, ...]:
    """Everything measured about all outputs over all batches; the two sequences hold one mapping a batch."""
    names = list(reference[0]) if reference else []
    measured = _names(names, reference, candidate)
    for name in names:
        if all(name in outputs for outputs in candidate):
            measured += _output(plan, name, [r[name] for r in reference], [c[name] for c in candidate])
    return tuple(measured)


def _names(names: list[str], reference: Sequence[Outputs], candidate: Sequence[Outputs]) -> list[Measurement]:
    measured = [Measurement(None, "batches", abs(len(candidate) - len(reference)), detail=f"{len(candidate)} batches")]
    got = {name for outputs in candidate for name in outputs}
    missing = [name for name in names if not all(name in outputs for outputs in candidate)]
    extra = sorted(got - set(names))
    measured.append(Measurement(None, "missing_outputs", len(missing), detail=", ".join(missing)))
    measured.append(Measurement(None, "extra_outputs", len(extra), detail=", ".join(extra)))
    return measured


def _output(plan: Plan, name: str, reference: list[Tensor], candidate: list[Tensor]) -> list[Measurement]:
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
    r, c = _join([r for r, _ in pairs]), _join([c for _, c in pairs])
    if expected.kind != found.kind and {expected.kind, found.kind} & set("cOUST"):
        return measured  # complex numbers or strings against others: there is no difference to speak of
    exact = is_exact(expected.name)
    if exact:
        measured += _equality(name, r, c)
    if not exact or (explicit_limits(plan, name, exact=True) and expected.kind not in "OUST"):
        measured += _numbers(plan, name, r, c, exact=exact)
    return measured


def _join(batches: list[Tensor]) -> Tensor:
    """All batches as one tensor along axis 0, or flat where their other axes differ."""
    if len(batches) == 1:
        return batches[0]
    if batches[0].ndim and len({batch.shape[1:] for batch in batches}) == 1:
        return np.concatenate(batches)
    return np.concatenate([batch.ravel() for batch in batches])


def _equality(name: str, reference: Tensor, candidate: Tensor) -> list[Measurement]:
    different = mismatches(reference, candidate)
    share = different / reference.size if reference.size else 0.0
    return [
        Measurement(name, "mismatches", different, detail=f"of {reference.size} elements"),
        Measurement(name, "mismatch_share", share, detail="not equal"),
    ]


def _numbers(plan: Plan, name: str, reference: Tensor, candidate: Tensor, *, exact: bool) -> list[Measurement]:
    r, c = _values(reference), _values(candidate)
    not_numbers = np.isnan(r) & np.isnan(c)
    finite, nonfinite = _finite(name, r, c)
    if not finite.all():
        r, c = r[finite], c[finite]
    nothing = Measurement(name, "nothing_finite", float(reference.size > 0 and bool(not_numbers.all())))
    explicit = explicit_limits(plan, name, exact=exact)
    limits = explicit or default_limits(plan.case.precision, exact=exact)
    scale = None if explicit else _rms(r)
    measured = [
        nonfinite,
        nothing,
        *(_metric(METRICS.load(m), name, (reference, candidate), (r, c), limits) for m in METRICS),
    ]
    if "atol" in limits or "rtol" in limits:
        measured += _tolerance(name, r, c, limits, scale, reference.shape if r.size == reference.size else None)
    if limits.get("exact") and not exact:
        measured += _equality(name, reference, candidate)
    return [m for m in measured if m is not None]


def _values(tensor: Tensor) -> Values:
    """The elements as float64; a complex one counts as two."""
    if tensor.dtype.kind == "c":
        return np.ascontiguousarray(tensor, np.complex128).ravel().view(np.float64)
    wide = tensor.dtype.kind in "iu" and tensor.dtype.itemsize == 8  # float64 would round them
    return tensor.astype(np.longdouble if wide else np.float64).ravel()  # type: ignore[return-value]


def _finite(name: str, r: Values, c: Values) -> tuple[np.ndarray, Measurement]:
    """Where both are finite, and how many elements are not finite without being the same in both."""
    finite = np.isfinite(r) & np.isfinite(c)
    if finite.all():
        return finite, Measurement(name, "nonfinite", 0.0)
    wrong = ~finite & ~((r == c) | (np.isnan(r) & np.isnan(c)))
    count = int(wrong.sum())
    detail = f"{int((~finite).sum())} of {r.size} elements are NaN or infinite in both, and not compared otherwise"
    if count:
        first = int(np.argmax(wrong))
        detail = f"first at flat index {first}: expected {r[first]:g}, found {c[first]:g}"
    return finite, Measurement(name, "nonfinite", float(count), detail=detail)


def _rms(values: Values) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def _metric(
    metric: Metric, name: str, tensors: tuple[Tensor, Tensor], values: tuple[Values, Values], limits: Limits
) -> Measurement | None:
    if not metric.applies(tensors[0]):
        return None
    settings = {key: float(limits[key]) for key in metric.settings if key in limits}
    value = metric.measure(*(values if metric.of == "values" else tensors), **settings)
    return Measurement(name, metric.name, value if math.isfinite(value) else None, settings)


def _tolerance(
    name: str, r: Values, c: Values, limits: Limits, scale: float | None, shape: tuple[int, ...] | None
) -> list[Measurement]:
    rule = str(limits.get("rule", "sum"))
    atol, rtol = float(limits.get("atol", 0.0)), float(limits.get("rtol", 0.0))
    settings: dict[str, float | str] = {"rule": rule, "atol": atol, "rtol": rtol}
    if scale is not None:
        settings = {"rule": rule, "atol": atol * scale, "rtol": rtol, "scaled": scale}
    excess = tolerance(r, c, rule, float(settings["atol"]), rtol)
    detail = ""
    if r.size:
        index: object = excess.worst if shape is None else [int(i) for i in np.unravel_index(excess.worst, shape)]
        detail = f"worst element {index}: expected {r[excess.worst]:.6g}, found {c[excess.worst]:.6g}"
    ratio = excess.ratio if math.isfinite(excess.ratio) else None
    return [
        Measurement(name, "tolerance_ratio", ratio, settings, detail),
        Measurement(name, "mismatch_share", excess.share, settings, detail),
    ]
