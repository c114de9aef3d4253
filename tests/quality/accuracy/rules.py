"""Accuracy rules as users meet them: other tools' defaults, and the harness's own. Each says whether a run passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from quality.accuracy.job import Job, budget, failed, fidelity, ours
from quality.accuracy.paths import Outputs

Rule = Callable[[str, Outputs, Outputs, Outputs | None], bool]
"""(precision, reference outputs, candidate outputs, outputs in double precision) -> passes."""
Pairs = list[tuple[np.ndarray, np.ndarray]]  # type: ignore[type-arg]


def polygraphy(precision: str, reference: Outputs, candidate: Outputs, double: Outputs | None) -> bool:
    """Polygraphy's default, by its own code: an element fails that is beyond both atol and rtol of 1e-5."""
    from polygraphy.comparator import IterationResult
    from polygraphy.comparator.compare import SimpleCompareFunc
    from polygraphy.exception import PolygraphyException
    from polygraphy.logger import G_LOGGER

    G_LOGGER.module_severity = G_LOGGER.CRITICAL
    if not {*reference} & {*candidate}:  # it gives up where there is nothing to compare
        return False
    results = [IterationResult(outputs, 1.0, name) for name, outputs in (("candidate", candidate), ("onnx", reference))]
    try:
        with np.errstate(all="ignore"):
            found = SimpleCompareFunc()(*results)
    except PolygraphyException:
        return False
    return bool(found) and all(bool(one) for one in found.values())


def allclose(precision: str, reference: Outputs, candidate: Outputs, double: Outputs | None) -> bool:
    """numpy.allclose with its default rtol 1e-5 and atol 1e-8."""
    return _comparable(reference, candidate) and all(np.allclose(c, r) for r, c in _pairs(reference, candidate))


OPENVINO: Mapping[str, tuple[float, float, float]] = {
    "fp32": (0.999, 1e-4, 1e-3),
    "fp16": (0.995, 1e-2, 5e-2),
    "bf16": (0.99, 2e-2, 1e-1),
    "tf32": (0.995, 1e-2, 5e-2),  # no row of its own; its significand is that of fp16
    "int8": (0.999, 1e-4, 1e-3),  # its outputs are fp32
}
"""cosine at least; absolute or relative error of each element at most (OpenVINO's benchmark_app, 2026)."""


def openvino(precision: str, reference: Outputs, candidate: Outputs, double: Outputs | None) -> bool:
    """OpenVINO's table for output validation; the relative error divides by the larger of the two."""
    if not _comparable(reference, candidate):
        return False
    cosine, atol, rtol = OPENVINO[precision]
    return all(_openvino(r, c, cosine, atol, rtol) for r, c in _pairs(reference, candidate))


def _openvino(reference: np.ndarray, candidate: np.ndarray, cosine: float, atol: float, rtol: float) -> bool:  # type: ignore[type-arg]
    if reference.dtype.kind in "iu":
        cosine, atol, rtol = 0.999, 1, 0
    r, c = reference.astype(np.float64).ravel(), candidate.astype(np.float64).ravel()
    error = np.abs(r - c)
    norms = float(np.linalg.norm(r) * np.linalg.norm(c))
    near = (error <= atol) | (error <= rtol * np.maximum(np.abs(r), np.abs(c)))
    return bool(near.all()) and (norms == 0 or float(r @ c) / norms >= cosine)


DYNAMO = {"fp32": 1e-4, "tf32": 1e-3, "fp16": 1e-3, "bf16": 1e-2, "int8": 1e-2}
"""Tolerances of torchbench inference; tf32 as amp, int8 as its list of coarse models."""


def dynamo(precision: str, reference: Outputs, candidate: Outputs, double: Outputs | None) -> bool:
    """PyTorch's `same` (torch/_dynamo/utils.py): allclose, or RMSE to double within m times the eager one's."""
    if not _comparable(reference, candidate):
        return False
    tol = DYNAMO[precision]
    return all(
        np.allclose(r, c, rtol=tol, atol=tol) or (r.dtype.kind == "f" and _as_near(precision, tol, r, c, double, name))
        for name, (r, c) in zip(reference, _pairs(reference, candidate), strict=True)
    )


def _as_near(
    precision: str,
    tol: float,
    reference: np.ndarray,  # type: ignore[type-arg]
    candidate: np.ndarray,  # type: ignore[type-arg]
    double: Outputs | None,
    name: str,
) -> bool:
    if double is None:
        return False
    eager, found = (float(np.sqrt(np.mean(np.square(x - double[name])))) for x in (reference, candidate))
    wide = precision in ("fp16", "bf16") or candidate.size < 1000 or tol >= 2e-2
    return found <= (3 if wide else 2) * eager + tol / 10


def _comparable(reference: Outputs, candidate: Outputs) -> bool:
    return all(name in candidate and candidate[name].shape == array.shape for name, array in reference.items())


def _pairs(reference: Outputs, candidate: Outputs) -> Pairs:
    return [(array, candidate[name]) for name, array in reference.items()]


RULES: Mapping[str, Callable[[Job, Outputs], bool]] = {
    "polygraphy": lambda job, outputs: polygraphy(job.precision, job.reference, outputs, job.double),
    "numpy": lambda job, outputs: allclose(job.precision, job.reference, outputs, job.double),
    "openvino": lambda job, outputs: openvino(job.precision, job.reference, outputs, job.double),
    "dynamo": lambda job, outputs: dynamo(job.precision, job.eager, outputs, job.double),
    "harness budget": lambda job, outputs: not failed(budget(job, outputs)),
    "harness fidelity": lambda job, outputs: not failed(fidelity(job, outputs)),
    "harness auto": lambda job, outputs: not ours(job, outputs),
}
"""dynamo compares with the eager run of the same precision, fidelity with the precision twin, the others with fp32."""
