"""Task metrics of detectors: boxes with scores against boxes."""

import contextlib
import io
from typing import Any

import numpy as np

from harness.errors import InputError
from harness.metrics.base import TaskMetric, Tensor


def coco_map(output: Tensor, labels: Tensor) -> float:
    """Average precision at overlaps of 0.50 to 0.95, mean over classes, as pycocotools computes it (COCOeval, bbox).

    Output [rows, boxes, 6]: corners x1, y1, x2, y2, score, class. Labels [rows, boxes, 5]: corners and class. Rows
    whose class is negative, or that have no width or height, are padding.
    """
    if output.ndim != 3 or output.shape[2] != 6 or labels.ndim != 3 or labels.shape[2] != 5:
        raise InputError(
            "coco_map needs outputs [rows, boxes, 6] (corners, score, class) and labels [rows, boxes, 5] (corners, "
            f"class), not {list(output.shape)} and {list(labels.shape)}"
        )
    if len(output) != len(labels):
        raise InputError(f"coco_map has {len(output)} rows of outputs and {len(labels)} of labels")
    wanted = [_wanted(row, box) for row in range(len(labels)) for box in _boxes(labels[row])]
    found = [_found(row, box) for row in range(len(output)) for box in _boxes(output[row])]
    if not wanted:
        raise InputError("coco_map: the labels hold no box")
    return _evaluated(len(labels), wanted, found)


def _boxes(rows: Tensor) -> np.ndarray:
    boxes = rows.astype(np.float64)
    real: np.ndarray = boxes[(boxes[:, -1] >= 0) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]
    return real


def _wanted(row: int, box: np.ndarray) -> dict[str, Any]:
    sides = _sides(box)
    return {"image_id": row + 1, "category_id": int(box[4]), "bbox": sides, "area": sides[2] * sides[3], "iscrowd": 0}


def _found(row: int, box: np.ndarray) -> dict[str, Any]:
    return {"image_id": row + 1, "category_id": int(box[5]), "bbox": _sides(box), "score": float(box[4])}


def _sides(box: np.ndarray) -> list[float]:
    """COCO's box: left, top, width, height."""
    return [float(value) for value in (box[0], box[1], box[2] - box[0], box[3] - box[1])]


def _evaluated(rows: int, wanted: list[dict[str, Any]], found: list[dict[str, Any]]) -> float:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise InputError("coco_map needs the package pycocotools: pip install 'trt-harness[detection]'") from None
    if not found:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": row + 1} for row in range(rows)],
            "annotations": [{"id": number, **one} for number, one in enumerate(wanted, 1)],
            "categories": [{"id": one} for one in sorted({one["category_id"] for one in wanted})],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


COCO_MAP = TaskMetric("coco_map", "", "higher", coco_map)
