"""Agreement of the best entries along the last axis, for scores of classes.

Where two classes are so close in the reference that rounding may swap them, a swap is no defect. How close is the
`margin`, in the unit of the output: `passes.py` says what it is where no limit sets it. With margin 0 the agreement is
the raw one.
"""

import numpy as np

from harness.metrics.base import Metric, Tensor


def has_classes(reference: Tensor) -> bool:
    """Whether an output holds vectors of several numbers."""
    return reference.ndim >= 2 and reference.shape[-1] > 1 and reference.size > 0 and reference.dtype.kind in "fV"


def argmax_agreement(reference: np.ndarray, candidate: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """1 for each row whose largest entry stands at the same place, or at one at most `margin` lower in r; else 0."""
    agree, largest, chosen = _first(reference, candidate)
    flips = np.flatnonzero(~agree)
    agree[flips] = reference[flips, largest[flips]] - reference[flips, chosen[flips]] <= margin
    return agree


def argmax_agreement_raw(reference: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """1 for each row whose largest entry stands at the same place, else 0."""
    return _first(reference, candidate)[0]


def _first(reference: np.ndarray, candidate: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    largest, chosen = np.argmax(reference, axis=1), np.argmax(candidate, axis=1)
    return largest == chosen, largest, chosen


def topk_agreement(reference: np.ndarray, candidate: np.ndarray, topk: float = 5, margin: float = 0.0) -> np.ndarray:
    """The share of the reference's k largest entries of each row that are among the candidate's k largest.

    One that is not counts as agreeing where it is at most `margin` above the least, in r, of those the candidate chose.
    """
    k = min(int(topk), reference.shape[1])
    best, chosen = _largest(reference, k), _largest(candidate, k)
    kept = (best[:, :, None] == chosen[:, None, :]).any(axis=2)
    rows = np.flatnonzero(~kept.all(axis=1))
    least = np.take_along_axis(reference[rows], chosen[rows], axis=1).min(axis=1, keepdims=True)
    kept[rows] |= np.take_along_axis(reference[rows], best[rows], axis=1) - least <= margin
    share: np.ndarray = kept.mean(axis=1)
    return share


def _largest(rows: np.ndarray, k: int) -> np.ndarray:
    """Places [rows, k] of the k largest entries, of equal ones the first; a vocabulary is too long to sort for each."""
    left, each = rows.copy(), np.arange(len(rows))
    places = np.empty((len(rows), k), np.intp)
    for place in range(k):
        places[:, place] = left.argmax(axis=1)
        left[each, places[:, place]] = -np.inf
    return places


ARGMAX = Metric(
    "argmax_agreement", "", "higher", argmax_agreement, of="rows", applies=has_classes, settings=("margin",)
)
ARGMAX_RAW = Metric("argmax_agreement_raw", "", "higher", argmax_agreement_raw, of="rows", applies=has_classes)
TOPK = Metric(
    "topk_agreement", "", "higher", topk_agreement, of="rows", applies=has_classes, settings=("topk", "margin")
)
