"""Task metrics of embeddings: how near what belongs together lies."""

import numpy as np

from harness.errors import InputError
from harness.metrics.base import Metric, TaskMetric, Tensor
from harness.metrics.ranking import has_classes

BLOCK = 512
"""Queries whose similarities to all rows are held at once."""


def recall_at_1(output: Tensor, labels: Tensor) -> float:
    """The share of rows whose nearest other row has the same label."""
    return float(np.mean(_ranks("recall_at_1", output, labels) <= 1))


def recall_at_5(output: Tensor, labels: Tensor) -> float:
    """The share of rows that have one of the same label among the five nearest other rows."""
    return float(np.mean(_ranks("recall_at_5", output, labels) <= 5))


def mrr(output: Tensor, labels: Tensor) -> float:
    """The mean reciprocal rank of the nearest other row with the same label."""
    return float(np.mean(1 / _ranks("mrr", output, labels)))


def _ranks(name: str, output: Tensor, labels: Tensor) -> np.ndarray:
    """For every row that is not alone with its label, the rank (from 1) of the first other row that shares it.

    Output [rows, width] of embeddings, labels [rows] of integers; nearness is the cosine of two rows. A row that is as
    near as the one looked for counts as nearer: embeddings that are all the same find nothing.
    """
    if output.ndim != 2 or labels.ndim != 1 or labels.dtype.kind not in "iu" or len(output) != len(labels):
        shapes = f"{list(output.shape)} and {labels.dtype} {list(labels.shape)}"
        raise InputError(f"{name} needs outputs [rows, width] and as many integer labels, not {shapes}")
    _, groups, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    queries = np.flatnonzero(sizes[groups] > 1)
    if not queries.size:
        raise InputError(f"{name}: no two rows share a label, so there is nothing to find")
    vectors = output.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    blocks = (queries[start : start + BLOCK] for start in range(0, len(queries), BLOCK))
    return np.concatenate([_block_ranks(block, vectors, labels) for block in blocks])


def _block_ranks(queries: np.ndarray, vectors: np.ndarray, labels: Tensor) -> np.ndarray:
    near = vectors[queries] @ vectors.T
    near[np.arange(len(queries)), queries] = -np.inf  # itself
    same = labels[queries][:, None] == labels[None, :]
    same[np.arange(len(queries)), queries] = False
    best = np.where(same, near, -np.inf).max(axis=1, keepdims=True)
    ranks: np.ndarray = 1 + np.count_nonzero((near >= best) & ~same & np.isfinite(near), axis=1)
    return ranks


def embedding_cosine(reference: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """The cosine of each row with the reference's, whatever their lengths; 1 where both are zero, 0 where one is."""
    lengths = [np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1)) for rows in (reference, candidate)]
    dot = np.einsum("ij,ij->i", reference, candidate, dtype=np.float64)
    both = lengths[0] * lengths[1]
    none = (lengths[0] == 0) & (lengths[1] == 0)
    near: np.ndarray = np.where(none, 1.0, np.divide(dot, both, out=np.zeros_like(dot), where=both > 0))
    clipped: np.ndarray = np.clip(near, -1.0, 1.0)
    return clipped


RECALL_AT_1 = TaskMetric("recall_at_1", "", "higher", recall_at_1)
RECALL_AT_5 = TaskMetric("recall_at_5", "", "higher", recall_at_5)
MRR = TaskMetric("mrr", "", "higher", mrr)
EMBEDDING_COSINE = Metric(
    "embedding_cosine", "", "higher", embedding_cosine, of="rows", applies=has_classes, on_request=True
)
