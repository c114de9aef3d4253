"""Task metrics of segmentation: label maps against label maps."""

import numpy as np

from harness.errors import InputError
from harness.metrics.base import TaskMetric, Tensor

IGNORED = 255
"""Pixels with this label count for nothing (as in PASCAL VOC and Cityscapes), and so do those with a negative one."""


def mean_iou(output: Tensor, labels: Tensor) -> float:
    """Intersection over union of each class over all pixels together, mean over the classes that occur in either.

    Output [rows, classes, ...] of scores, whose largest is the answer, or [rows, ...] of integers; labels [rows, ...]
    of integers (Everingham et al., The PASCAL Visual Object Classes Challenge: A Retrospective, 2015, section 3.3).
    """
    answers = np.argmax(output, axis=1) if output.ndim == labels.ndim + 1 else output
    if answers.shape != labels.shape or {answers.dtype.kind, labels.dtype.kind} - {*"iub"}:
        shapes = f"{output.dtype} {list(output.shape)} and {labels.dtype} {list(labels.shape)}"
        raise InputError(f"mean_iou needs outputs [rows, classes, ...] and integer labels [rows, ...], not {shapes}")
    wanted, found = labels.astype(np.int64), answers.astype(np.int64)
    counted = (wanted != IGNORED) & (wanted >= 0)
    wanted, found = wanted[counted], found[counted]
    if not wanted.size:
        raise InputError("mean_iou: no pixel has a label that counts")
    overlaps = [_iou(found == one, wanted == one) for one in np.union1d(found, wanted)]
    return float(np.mean(overlaps))


def _iou(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.count_nonzero(found & wanted) / np.count_nonzero(found | wanted))


MEAN_IOU = TaskMetric("mean_iou", "", "higher", mean_iou)
