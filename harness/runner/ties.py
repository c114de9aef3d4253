"""Outputs that choose an index, and the scores that they choose by: where scores are nearly equal, either is right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.backends.base import Tensor
from harness.judge.fidelity import LIMITS, limits_at
from harness.metrics.fidelity import Noise
from harness.records import Measurement
from harness.variants.graph import STANDARD
from harness.variants.taps import makers

KEEP_ORDER = frozenset(("Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"))
"""Operators behind an index that leave the order of the elements as it is."""
WORST = 4.0
"""How many times the root mean square the worst of many errors is."""
Batches = Sequence[Mapping[str, Tensor]]


@dataclass(frozen=True)
class Ties:
    """What one output chose its indices by."""

    axis: int
    """Of the scores: along it an index was chosen."""
    reach: float
    """Scores nearer to each other than this may change places."""
    scores: Sequence[Tensor]
    """Of the precision twin, batch by batch."""


def choosers(model: Any) -> dict[str, tuple[str, int]]:
    """Outputs that are indices of TopK, ArgMax or ArgMin, with the tensor of their scores and the axis."""
    made, found = makers(model), {}
    for name in (value.name for value in model.graph.output):
        inner, node = name, made.get(name)
        while node is not None and node.op_type in KEEP_ORDER and node.domain in STANDARD:
            inner = node.input[0]
            node = made.get(inner)
        if node is None or node.domain not in STANDARD or not node.input or node.input[0] not in made:
            continue
        if node.op_type in ("ArgMax", "ArgMin") or (node.op_type == "TopK" and inner == node.output[1]):
            axes = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
            found[name] = (node.input[0], axes[0] if axes else -1 if node.op_type == "TopK" else 0)
    return found


def reach(noise: Noise, precision: str, slack: float) -> float:
    """How far two scores may be apart that change places.

    The errors of a backend may be `twin_spread` times the noise, and the worst of many is some four times their RMS.
    """
    limit = limits_at(precision, slack)["twin_spread"]
    if not noise.fine:
        limit = min(limit, LIMITS["twin_spread"] * slack)
    return WORST * limit * noise.rms()


def beyond(ties: Ties, number: int, expected: Tensor, found: Tensor) -> tuple[NDArray[np.bool_], float]:
    """Where another index stands that near scores do not explain, in one batch; and the largest margin among others.

    Nothing is explained where an index does not exist, or the same stands twice in one place.
    """
    differ = np.asarray(expected != found)
    scores = np.moveaxis(np.asarray(ties.scores[number], np.float64), ties.axis, -1)
    there, here = (_last(values, ties.scores[number].shape, ties.axis) for values in (expected, found))
    if there is None or here is None or here.min(initial=0) < 0 or here.max(initial=0) >= scores.shape[-1]:
        return differ, 0.0
    margins = np.abs(np.take_along_axis(scores, there, -1) - np.take_along_axis(scores, here, -1))
    twice = np.any(np.diff(np.sort(here, -1), axis=-1) == 0, axis=-1, keepdims=True)
    far = np.moveaxis((margins >= ties.reach) | twice, -1, ties.axis).reshape(differ.shape)
    near = differ & ~far
    flat = np.moveaxis(margins, -1, ties.axis).reshape(differ.shape)
    return differ & far, float(np.max(flat[near], initial=0.0))


def _last(values: Tensor, shape: Sequence[int], axis: int) -> NDArray[np.int64] | None:
    """Indices as their operator gave them, with its axis last; None where they do not fit its scores."""
    given = list(shape)
    others = int(np.prod(given)) // max(1, given[axis])
    if values.dtype.kind not in "iu" or not others or values.size % others:
        return None
    given[axis] = values.size // others
    return np.moveaxis(values.reshape(given), axis, -1).astype(np.int64)


def against_reference(all_ties: Mapping[str, Ties], expected: Batches, candidate: Batches) -> Iterator[Measurement]:
    """For every output that chooses indices, how many differ from the reference beyond what near scores explain."""
    for name, ties in all_ties.items():
        if not all(name in batch for batch in (*expected, *candidate)):
            continue
        far, margin, differ = 0, 0.0, 0
        for number, (r, c) in enumerate(zip(expected, candidate, strict=False)):
            if r[name].shape != c[name].shape:
                return
            wrong, most = (
                (r[name] != c[name], 0.0) if number >= len(ties.scores) else beyond(ties, number, r[name], c[name])
            )
            far, margin = far + int(np.count_nonzero(wrong)), max(margin, most)
            differ += int(np.count_nonzero(r[name] != c[name]))
        told = f"{differ - far} choose between scores at most {margin:.3g} apart, which rounding reverses up to "
        detail = (
            f"{told}{ties.reach:.3g}" if differ > far else f"no two scores are within {ties.reach:.3g}, as rounding is"
        )
        yield Measurement(name, "index_beyond_ties", float(far), {"reach": ties.reach}, detail if differ else "")
