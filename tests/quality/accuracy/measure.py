"""How far outputs are from others: per output, in units of what healthy runs differ by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quality.accuracy.job import Job
from quality.accuracy.paths import Outputs

SMALLEST = 2.0**-24
"""Spread that is assumed at least, relative to the RMS of an output: one rounding of float32."""


def distance(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """RMS of the difference; of integers the root of the share that differ; infinite where only one is finite."""
    if one.shape != other.shape:
        return float("inf")
    if one.dtype.kind in "iub":
        return float(np.sqrt(np.mean(one != other)))
    a, b = one.astype(np.float64), other.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, a - b)
    return float(np.sqrt(np.mean(np.square(error)))) if np.isfinite(error).all() else float("inf")


def spread(reference: Outputs, healthy: Sequence[Outputs]) -> dict[str, float]:
    """The largest distance between two healthy runs of a precision, output by output."""
    found = {}
    for name, array in reference.items():
        pairs = [(a[name], b[name]) for number, a in enumerate(healthy) for b in healthy[number + 1 :]]
        least = np.sqrt(1 / array.size) if array.dtype.kind in "iub" else SMALLEST * _rms(array)
        found[name] = max([float(least), *(distance(*pair) for pair in pairs)])
    return found


def effects(outputs: Outputs, healthy: Outputs, spreads: Mapping[str, float]) -> dict[str, float]:
    """Distance of each output to the healthy run of the same route, in multiples of the spread."""
    return {
        name: distance(outputs[name], healthy[name]) / one if name in outputs else float("inf")
        for name, one in spreads.items()
    }


def cost_times(job: Job, outputs: Outputs, healthy: Outputs) -> float:
    """The largest distance to the healthy run, in multiples of what the precision itself costs against fp32."""
    costs = {name: distance(job.eager[name], array) for name, array in job.reference.items()}
    least = {name: SMALLEST * _rms(array) for name, array in job.reference.items()}
    floors = {name: max(cost, least[name], 1e-300) for name, cost in costs.items()}
    return max(effects(outputs, healthy, floors).values())


def statistics(job: Job, outputs: Outputs) -> dict[str, dict[str, float]]:
    """Numbers about each output that rules could be made of; RMS are relative to that of the reference."""
    return {name: _statistics(job, name, outputs[name]) for name in job.reference if name in outputs}


def _statistics(job: Job, name: str, found: np.ndarray[Any, Any]) -> dict[str, float]:
    reference = job.reference[name]
    if reference.dtype.kind in "iub" or found.shape != reference.shape:
        return {"mismatch_share": float(np.mean(reference != found)) if found.shape == reference.shape else 1.0}
    rms = max(_rms(reference), 1e-300)
    r, c = reference.astype(np.float64).ravel(), found.astype(np.float64).ravel()
    with np.errstate(all="ignore"):
        cosine = float(r @ c / max(float(np.linalg.norm(r) * np.linalg.norm(c)), 1e-300))
        largest = float(np.max(np.abs(r - c))) / rms
    return {
        "rmse": distance(found, reference) / rms,
        "rmse_eager": distance(found, job.eager[name]) / rms,
        "largest": largest,
        "cosine": cosine,
    }


def _rms(array: np.ndarray[Any, Any]) -> float:
    return float(np.sqrt(np.mean(np.square(array.astype(np.float64)))))
