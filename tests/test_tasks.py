"""Task metrics: the numbers of small cases worked out by hand, and what they refuse."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harness.errors import InputError
from harness.metrics import TASKS


def score(name: str, output: object, labels: object) -> float:
    return TASKS.load(name).measure(np.array(output), np.array(labels))


def test_top5_counts_a_label_among_the_five_largest_and_of_equal_scores_the_first() -> None:
    scores = np.tile(np.arange(10.0, 0, -1), (3, 1))
    assert score("top5", scores, [0, 4, 5]) == pytest.approx(2 / 3)
    assert score("top5", np.zeros((2, 10)), [4, 5]) == 0.5
    assert score("top1", scores, [0, 4, 5]) == pytest.approx(1 / 3)


def test_accuracy_takes_classes_or_scores() -> None:
    assert score("accuracy", [1, 2, 3, 3], [1, 2, 3, 4]) == 0.75
    assert score("accuracy", np.eye(3, dtype=np.float32), [0, 1, 0]) == pytest.approx(2 / 3)
    with pytest.raises(InputError, match="of one shape"):
        score("accuracy", [[1, 2], [1, 2]], [[1, 2, 3], [1, 2, 3]])


def test_confusions_are_counted_in_pairs_the_most_frequent_first() -> None:
    output = np.eye(4)[[1, 1, 2, 3, 0]]
    count, pairs = TASKS.load("top1").mistakes(output, np.array([0, 0, 2, 1, 0]))
    assert count == 3
    assert json.loads(pairs) == [[0, 1, 2], [1, 3, 1]]
    assert TASKS.load("accuracy").mistakes(np.array([1, 2]), np.array([1, 2])) == (0, "[]")


def test_mean_iou_is_over_all_pixels_and_leaves_ignored_ones_out() -> None:
    labels = [[[0, 0, 1, 1]], [[2, 255, -1, 0]]]
    answers = [[[0, 1, 1, 1]], [[2, 2, 2, 0]]]
    expected = (2 / 3 + 2 / 3 + 1) / 3  # class 0: 2 of 3 pixels, 1: 2 of 3, 2: 1 of 1
    assert score("mean_iou", answers, labels) == pytest.approx(expected)
    scores = np.moveaxis(np.eye(3)[np.array(answers)], -1, 1)
    assert score("mean_iou", scores, labels) == pytest.approx(expected)
    with pytest.raises(InputError, match="no pixel"):
        score("mean_iou", answers, np.full((2, 1, 4), 255))


def test_coco_map_is_that_of_pycocotools() -> None:
    pytest.importorskip("pycocotools")
    padding = [0.0, 0, 0, 0, -1]
    labels = [[[0, 0, 10, 10, 0], [20, 20, 30, 30, 1]], [[0, 0, 10, 10, 0], padding]]
    right = [[[0, 0, 10, 10, 0.9, 0], [20, 20, 30, 30, 0.8, 1]], [[0, 0, 10, 10, 0.7, 0], [0, 0, 0, 0, 0, -1]]]
    assert score("coco_map", right, labels) == pytest.approx(1.0)
    # an overlap of 0.8 counts at 7 of the 10 thresholds, for one class of two
    off = np.array(right)
    off[0, 1, :4] = [20, 20, 30, 28]
    assert score("coco_map", off, labels) == pytest.approx((1 + 0.7) / 2)
    assert score("coco_map", np.full((2, 1, 6), -1.0), labels) == 0.0
    with pytest.raises(InputError, match="hold no box"):
        score("coco_map", right, [[padding], [padding]])


def test_retrieval_ranks_the_first_other_row_with_the_same_label() -> None:
    angles = np.radians([0, 1, 90, 91, 45])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1) * [[1], [2], [3], [4], [5]]  # lengths do not count
    assert score("recall_at_1", rows, [0, 0, 1, 1, 2]) == 1.0
    assert score("mrr", rows, [0, 1, 0, 1, 2]) == pytest.approx((1 / 3 + 1 / 4 + 1 / 4 + 1 / 3) / 4)
    assert score("recall_at_5", rows, [0, 1, 0, 1, 2]) == 1.0


def test_embeddings_that_are_all_the_same_find_nothing() -> None:
    assert score("recall_at_1", np.ones((6, 3)), [0, 0, 1, 1, 2, 2]) == 0.0
    with pytest.raises(InputError, match="no two rows share a label"):
        score("mrr", np.ones((3, 2)), [0, 1, 2])


@pytest.mark.parametrize("name", TASKS)
def test_every_task_metric_refuses_shapes_that_do_not_fit(name: str) -> None:
    with pytest.raises(InputError, match=name):
        score(name, np.zeros((3, 4), np.float32), np.zeros((2, 4, 2, 3)))
