"""Agreement of the best entries along the last axis, for scores of classes."""

import numpy as np

from harness.metrics.base import Metric, Tensor


def _has_classes(reference: Tensor) -> bool:
    return reference.ndim >= 2 and reference.shape[-1] > 1 and reference.size > 0 and reference.dtype.kind in "fV"


def argmax_agreement(reference: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """1 for each row whose largest entry stands at the same place, else 0."""
    same: np.ndarray = np.argmax(reference, axis=1) == np.argmax(candidate, axis=1)
    return same


def topk_agreement(reference: np.ndarray, candidate: np.ndarray, topk: float = 5) -> np.ndarray:
    """The share of the reference's k largest entries of each row that are among the candidate's k largest."""
    k = min(int(topk), reference.shape[-1])
    common = _largest(reference, k) & _largest(candidate, k)
    share: np.ndarray = np.count_nonzero(common, axis=1) / k
    return share


def _largest(rows: np.ndarray, k: int) -> np.ndarray:
    """Which entries of each row are its k largest; of equal ones the first."""
    least = np.partition(rows, -k, axis=1)[:, -k, None]  # a vocabulary is too long to sort for every token
    above, equal = rows > least, rows == least
    room = k - np.count_nonzero(above, axis=1, keepdims=True)
    best: np.ndarray = above | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= room))
    return best


ARGMAX = Metric("argmax_agreement", "", "higher", argmax_agreement, of="rows", applies=_has_classes)
TOPK = Metric("topk_agreement", "", "higher", topk_agreement, of="rows", applies=_has_classes, settings=("topk",))
