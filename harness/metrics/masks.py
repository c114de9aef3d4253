"""Overlap of masks and label maps."""

from __future__ import annotations

from collections import Counter

import numpy as np

from harness.metrics.base import Metric, Tensor

Overlap = tuple[Counter[int], Counter[int]]


def _is_labels(reference: Tensor) -> bool:
    return reference.dtype.kind in "biu" or "int" in reference.dtype.name


def overlap(reference: Tensor, candidate: Tensor) -> Overlap:
    """For each label: the elements that have it in both, and those that have it in either."""
    r, c = (tensor.astype(np.int64) for tensor in (reference, candidate))
    both = _counts(r[r == c])
    return both, _counts(r) + _counts(c) - both


def _counts(labels: np.ndarray) -> Counter[int]:
    values, counts = np.unique(labels, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def _add(one: Overlap, other: Overlap) -> Overlap:
    return one[0] + other[0], one[1] + other[1]


def _mean(found: Overlap | None) -> float:
    """The mean over the labels that occur in either output; 1 for empty outputs."""
    if found is None:
        return 1.0
    both, either = found
    return float(np.mean([both[label] / either[label] for label in either]))


MASK_IOU = Metric(
    "mask_iou", "", "higher", overlap, of="pieces", applies=_is_labels, fold=_add, finish=_mean, on_request=True
)
"""Intersection over union of the elements of each label (False and True are two), mean over the labels."""
