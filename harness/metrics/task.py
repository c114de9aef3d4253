"""Task metrics of classifiers: outputs against labels."""

import json

import numpy as np

from harness.errors import InputError
from harness.metrics.base import TaskMetric, Tensor

MOST_PAIRS = 12
"""Confusions that are told."""


def top1(output: Tensor, labels: Tensor) -> float:
    """The share of rows whose largest entry is the label; output [rows, classes], labels [rows] of integers."""
    return _topk("top1", output, labels, 1)


def top5(output: Tensor, labels: Tensor) -> float:
    """The share of rows whose label is among the five largest entries, of equal ones the first; shapes as top1."""
    return _topk("top5", output, labels, 5)


def accuracy(output: Tensor, labels: Tensor) -> float:
    """The share of elements that are the label: output and labels of integers, equal in shape; of scores it is top1."""
    if output.dtype.kind in "f" or output.ndim == labels.ndim + 1:
        return _topk("accuracy", output, labels, 1)
    if output.shape != labels.shape or {output.dtype.kind, labels.dtype.kind} - {*"iub"}:
        shapes = f"{output.dtype} {list(output.shape)} and {labels.dtype} {list(labels.shape)}"
        raise InputError(f"accuracy needs outputs and labels of integers of one shape, or scores, not {shapes}")
    return float(np.mean(output == labels))


def confusion(output: Tensor, labels: Tensor) -> tuple[int, str]:
    """The number of rows that were taken for another class, and the most frequent pairs as JSON.

    Pairs are [label, answer, rows], the most frequent first, at most `MOST_PAIRS`; shapes as top1.
    """
    answers = np.argmax(output, axis=1) if output.ndim == 2 else output
    wrong = answers != labels
    pairs, counts = np.unique(np.stack([labels[wrong], answers[wrong]], axis=-1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_PAIRS]
    return int(wrong.sum()), json.dumps([[*map(int, pairs[at]), int(counts[at])] for at in order])


def _topk(name: str, output: Tensor, labels: Tensor, k: int) -> float:
    if output.ndim != 2 or labels.ndim != 1 or labels.dtype.kind not in "iu":
        shapes = f"{list(output.shape)} and {labels.dtype} {list(labels.shape)}"
        raise InputError(f"{name} needs outputs [rows, classes] and integer labels [rows], not {shapes}")
    if len(output) != len(labels):
        raise InputError(
            f"{name} has {len(output)} rows of outputs and {len(labels)} labels: use `slice` on one of them"
        )
    best = (
        np.argmax(output, axis=1)[:, None] if k == 1 else np.argsort(np.negative(output), axis=1, kind="stable")[:, :k]
    )
    return float(np.mean((best == labels[:, None]).any(axis=1)))


TOP1 = TaskMetric("top1", "", "higher", top1, confusion)
TOP5 = TaskMetric("top5", "", "higher", top5, confusion)
ACCURACY = TaskMetric("accuracy", "", "higher", accuracy, confusion)
