"""Distance in units in the last place of the reference's own dtype."""

import numpy as np

from harness.metrics.base import Metric, Tensor

_INTEGER = {2: np.int16, 4: np.int32, 8: np.int64}


def _is_float(reference: Tensor) -> bool:
    return reference.dtype.name in ("float16", "bfloat16", "float32", "float64")


def _ordered(values: Tensor) -> np.ndarray:
    """The bits of floats as integers that rise with the value (Bruce Dawson, Comparing Floating Point Numbers)."""
    bits = np.ascontiguousarray(values).view(_INTEGER[values.dtype.itemsize])
    return np.where(bits < 0, np.iinfo(bits.dtype).min - bits, bits)


def ulp(reference: Tensor, candidate: Tensor) -> float:
    """The largest number of representable steps between c and r where both are finite."""
    with np.errstate(over="ignore"):
        same = candidate.astype(reference.dtype)
    finite = np.isfinite(reference) & np.isfinite(same)
    steps = np.subtract(_ordered(same[finite]), _ordered(reference[finite]), dtype=np.float64)
    return float(max(np.max(steps, initial=0.0), -np.min(steps, initial=0.0)))


ULP = Metric("ulp", "ulp", "lower", ulp, of="tensors", applies=_is_float)
