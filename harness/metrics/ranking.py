"""Agreement of the best entries along the last axis, for scores of classes."""

import numpy as np

from harness.metrics.base import Metric, Tensor


def _has_classes(reference: Tensor) -> bool:
    return reference.ndim >= 2 and reference.shape[-1] > 1 and reference.size > 0 and reference.dtype.kind in "fV"


def _rows(values: Tensor) -> np.ndarray:
    return np.nan_to_num(values.astype(np.float64).reshape(-1, values.shape[-1]))


def argmax_agreement(reference: Tensor, candidate: Tensor) -> float:
    """The share of rows whose largest entry stands at the same place."""
    return float(np.mean(np.argmax(_rows(reference), axis=1) == np.argmax(_rows(candidate), axis=1)))


def topk_agreement(reference: Tensor, candidate: Tensor, topk: float = 5) -> float:
    """The mean share of the reference's k largest entries of a row that are among the candidate's k largest."""
    k = min(int(topk), reference.shape[-1])
    common = _largest(_rows(reference), k) & _largest(_rows(candidate), k)
    return float(np.mean(np.count_nonzero(common, axis=1) / k))


def _largest(rows: np.ndarray, k: int) -> np.ndarray:
    """Which entries of each row are its k largest; of equal ones the first."""
    least = np.partition(rows, -k, axis=1)[:, -k, None]  # a vocabulary is too long to sort for every token
    above, equal = rows > least, rows == least
    room = k - np.count_nonzero(above, axis=1, keepdims=True)
    best: np.ndarray = above | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= room))
    return best


ARGMAX = Metric("argmax_agreement", "", "higher", argmax_agreement, of="tensors", applies=_has_classes)
TOPK = Metric("topk_agreement", "", "higher", topk_agreement, of="tensors", applies=_has_classes, settings=("topk",))
