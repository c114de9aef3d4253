"""Task metrics: outputs against labels."""

import numpy as np

from harness.errors import InputError
from harness.metrics.base import TaskMetric, Tensor


def top1(output: Tensor, labels: Tensor) -> float:
    """The share of rows whose largest entry is the label; output [rows, classes], labels [rows] of integers."""
    if output.ndim != 2 or labels.ndim != 1 or labels.dtype.kind not in "iu":
        shapes = f"{list(output.shape)} and {labels.dtype} {list(labels.shape)}"
        raise InputError(f"top1 needs outputs [rows, classes] and integer labels [rows], not {shapes}")
    if len(output) != len(labels):
        raise InputError(f"top1 has {len(output)} rows of outputs and {len(labels)} labels: use `slice` on one of them")
    return float(np.mean(np.argmax(output, axis=1) == labels))


TOP1 = TaskMetric("top1", "", "higher", top1)
