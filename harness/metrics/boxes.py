"""Detections: boxes that may come in another order."""

import numpy as np

from harness.metrics.base import Metric, Tensor


def _is_boxes(reference: Tensor) -> bool:
    return reference.ndim >= 2 and reference.shape[-1] >= 4 and reference.dtype.kind in "fViu"


def box_iou(reference: Tensor, candidate: Tensor) -> float:
    """The mean overlap (intersection over union) of the reference's boxes with those of the candidate.

    Outputs [..., boxes, 4 or more]: corners x1, y1, x2, y2, then a score if there is a fifth column. Within each image
    every box is matched with one of the candidate: in the order of the reference's scores, each takes the box that
    overlaps it most of those left (the greedy matching of the COCO evaluation). A box that finds none counts as 0, and
    so does a box of the candidate that none took. Rows without width or height are padding, and no boxes.
    """
    r, c = (tensor.astype(np.float64) for tensor in (reference, candidate))
    r, c = (boxes.reshape(-1, *boxes.shape[-2:]) for boxes in (r, c))
    found = [_matched(_boxes(one), _boxes(other)) for one, other in zip(r, c, strict=True)]
    overlaps = np.concatenate([np.zeros(0), *found])
    return float(np.mean(overlaps)) if overlaps.size else 1.0


def _boxes(rows: np.ndarray) -> np.ndarray:
    real: np.ndarray = rows[(rows[:, 0] != rows[:, 2]) & (rows[:, 1] != rows[:, 3])]
    return real


def _matched(reference: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """The overlap that each box of the reference got, and 0 for each box of the candidate that is left."""
    order = np.argsort(-reference[:, 4], kind="stable") if reference.shape[1] > 4 else np.arange(len(reference))
    left = np.ones(len(candidate), np.bool_)
    got = np.zeros(len(reference))
    for box in order if len(candidate) else ():
        overlap = np.where(left, _overlap(reference[box, :4], candidate[:, :4]), 0.0)
        best = int(np.argmax(overlap))
        if overlap[best] > 0:
            got[box], left[best] = overlap[best], False
    return np.concatenate([got, np.zeros(np.count_nonzero(left))])


def _overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with others; 1 for equal boxes, also where corners are the wrong way round."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    both = np.prod(np.maximum(sides, 0), axis=1)
    either = _area(box[None]) + _area(others) - both
    share = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    return np.where((box == others).all(axis=1), 1.0, share)


def _area(boxes: np.ndarray) -> np.ndarray:
    area: np.ndarray = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    return area


BOX_IOU = Metric("box_iou", "", "higher", box_iou, of="tensors", applies=_is_boxes, on_request=True)
