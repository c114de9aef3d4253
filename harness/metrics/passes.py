"""The passes over the pieces of an output: one for what all elements take part in, one for rows where rows matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from harness.metrics.arithmetic import Scratch, real_parts, working_dtype
from harness.metrics.base import Metric, Tensor
from harness.metrics.elementwise import Allowance, mismatches
from harness.metrics.extremes import Blocks, Peaks, largest_steps, worst
from harness.metrics.moments import Moments, measure, reference_sum, total
from harness.metrics.pieces import Pair, Piece, elements, rows, spread
from harness.records import Limits


@dataclass(frozen=True)
class Asked:
    """What to measure about an output."""

    metrics: Sequence[Metric]
    limits: Limits
    allowance: Allowance | Callable[[Moments], Allowance] | None
    """A function where it depends on the output; the moments that it takes lack the extremes."""
    noise_share: float = 0.0
    """Largest noise, as a share of the spread within the reference's rows, that may swap classes; see `_margin`."""

    def settings(self, metric: Metric) -> dict[str, float | str]:
        """The settings of a metric that limits set."""
        return {key: float(self.limits[key]) for key in metric.settings if key in self.limits}

    def arguments(self, metric: Metric, moments: Moments, row_spread: float) -> dict[str, Any]:
        """What a metric is called with: its settings, and the margin where none is set."""
        settings: dict[str, Any] = self.settings(metric)
        if "margin" in metric.settings:
            settings.setdefault("margin", _margin(moments, self.noise_share * row_spread))
        return settings


@dataclass(frozen=True)
class Value:
    """What a metric says, and the settings it was measured with."""

    metric: str
    value: float
    settings: dict[str, float | str] = field(default_factory=dict)
    detail: str = ""


def whole(pairs: Sequence[Pair], asked: Asked) -> tuple[Moments, list[Value]]:
    """The moments of an output and every metric that applies to it, in the order asked for."""
    metrics = [metric for metric in asked.metrics if metric.applies(pairs[0][0])]
    moments, folded = _elements(pairs, asked, [metric for metric in metrics if metric.of == "pieces"])
    ranked = moments.rms > 0 and any("margin" in metric.settings for metric in metrics)
    row_spread = _row_spread(pairs) if ranked else 0.0
    arguments = {metric.name: asked.arguments(metric, moments, row_spread) for metric in metrics}
    by_row = _rows(pairs, [metric for metric in metrics if metric.of == "rows"], arguments, finite=moments.all_finite)
    values = []
    for metric in metrics:
        given = arguments[metric.name]
        if metric.of == "moments":
            value = metric.measure(moments, **given)
        elif metric.of == "pieces" and metric.finish:
            value = metric.finish(folded.get(metric.name))
        elif metric.of == "rows":
            value = by_row[metric.name]
        else:
            value = metric.measure(*_joined(pairs, metric.of), **given)
        detail = f"classes at most {given['margin']:.3g} apart may change places" if "margin" in given else ""
        values.append(Value(metric.name, float(value), asked.settings(metric), detail))
    return moments, values


def reference_rms(pairs: Sequence[Pair]) -> float:
    """The root mean square of the finite elements of the reference."""

    def work(pieces: Iterator[Piece]) -> list[tuple[int, Any, int]]:
        return [(piece.offset, *reference_sum(piece.load()[0])) for piece in pieces]

    sums = sorted(one for share in spread(elements(_real(pairs)), work) for one in share)
    count = sum(size for *_, size in sums)
    return float(np.sqrt(sum(square for _, square, _ in sums) / count)) if count else 0.0


def unequal(pairs: Sequence[Pair]) -> int:
    """How many elements differ."""

    def work(pieces: Iterator[Piece]) -> int:
        return sum(mismatches(*piece.load()) for piece in pieces)

    return sum(spread(elements(pairs), work))


def _elements(pairs: Sequence[Pair], asked: Asked, metrics: Sequence[Metric]) -> tuple[Moments, dict[str, Any]]:
    """One pass over all elements: the moments, and what the metrics of pieces fold theirs to."""
    pairs = _real(pairs)
    pieces = elements(pairs)
    room = max((piece.size for piece in pieces), default=0)

    def work(mine: Iterator[Piece]) -> tuple[list[tuple[Moments, Peaks]], dict[str, Any]]:
        scratch = Scratch(room, working_dtype(*pairs[0]))
        found: list[tuple[Moments, Peaks]] = []
        folded: dict[str, Any] = {}
        for piece in mine:
            found.append(measure(piece, scratch))
            for metric in metrics:
                _fold(metric, folded, metric.measure(*piece.load()))
        return found, folded

    shares = spread(pieces, work)
    folded: dict[str, Any] = {}
    for metric in metrics:
        for _, share in shares:
            if metric.name in share:
                _fold(metric, folded, share[metric.name])
    found = sorted((one for some, _ in shares for one in some), key=lambda one: one[0].offset)
    return _with_extremes(total([moments for moments, _ in found]), pairs, [peaks for _, peaks in found], asked), folded


def _with_extremes(moments: Moments, pairs: Sequence[Pair], peaks: Sequence[Peaks], asked: Asked) -> Moments:
    """The moments with what is found by looking again where the largest errors are."""
    blocks = Blocks(peaks)
    distance = largest_steps(blocks, {tensor.dtype for pair in pairs for tensor in pair}, working_dtype(*pairs[0]))
    allowance = asked.allowance(moments) if callable(asked.allowance) else asked.allowance
    if allowance is None:
        return replace(moments, steps=distance)
    furthest, beyond = worst(blocks, allowance, working_dtype(*pairs[0], allowance))
    return replace(moments, steps=distance, worst=furthest, beyond=beyond)


def _fold(metric: Metric, folded: dict[str, Any], more: Any) -> None:
    if metric.fold is None:
        raise TypeError(f"the metric {metric.name} is of pieces and needs `fold`")
    folded[metric.name] = metric.fold(folded[metric.name], more) if metric.name in folded else more


def _row_spread(pairs: Sequence[Pair]) -> float:
    """The root mean square of r less the mean of its row: an offset of all classes tells none of them apart.

    Of finite elements: that classes are masked out with -inf says nothing about how far the others are apart.
    """

    def work(pieces: Iterator[Piece]) -> list[tuple[int, float, int]]:
        return [(piece.offset, *_squares_within(piece.load()[0])) for piece in pieces]

    found = sorted(one for share in spread(rows(pairs), work) for one in share)
    count = sum(size for *_, size in found)
    return float(np.sqrt(sum(squares for _, squares, _ in found) / count)) if count else 0.0


def _squares_within(reference: Tensor) -> tuple[float, int]:
    """sum (r - mean of its row)^2 and the number of finite elements."""
    r = reference.astype(np.float64)
    finite = np.isfinite(r)
    r[~finite] = 0
    counts = finite.sum(axis=1, keepdims=True)
    r -= r.sum(axis=1, keepdims=True) / np.maximum(counts, 1)
    r[~finite] = 0
    return float(np.einsum("ij,ij->", r, r)), int(counts.sum())


def _margin(moments: Moments, most: float) -> float:
    """How much lower than another class one may be in the reference, and yet take its place: 2 RMS(c - r).

    That is what the noise of two classes adds up to, about. It is measured, but an output that is all wrong shall not
    excuse itself: the noise counts only up to `most`, what the precision's defaults allow of the spread within rows.
    """
    return 2 * min(moments.rms, most)


def _rows(
    pairs: Sequence[Pair], metrics: Sequence[Metric], arguments: Mapping[str, Mapping[str, Any]], *, finite: bool
) -> dict[str, float]:
    """One pass over all rows: the mean of each metric over them."""
    if not metrics:
        return {}

    def work(mine: Iterator[Piece]) -> list[tuple[int, int, list[float]]]:
        found = []
        for piece in mine:
            r, c = (_scores(tensor, finite=finite) for tensor in piece.load())
            sums = [float(np.sum(metric.measure(r, c, **arguments[metric.name]))) for metric in metrics]
            found.append((piece.offset, len(r), sums))
        return found

    found = sorted(one for share in spread(rows(pairs), work) for one in share)
    count = sum(size for _, size, _ in found)
    means = np.sum([sums for *_, sums in found], axis=0) / count
    return {metric.name: float(mean) for metric, mean in zip(metrics, means, strict=True)}


def _scores(rows: Tensor, *, finite: bool) -> np.ndarray:
    """Rows in a type that NumPy is fast with; NaN ranks as 0, infinities as the largest numbers."""
    small = rows.dtype.itemsize <= 4 and rows.dtype.kind != "i"
    scores = rows.astype(np.float32 if small else np.float64, copy=False)
    return scores if finite else np.nan_to_num(scores)


def _real(pairs: Sequence[Pair]) -> list[Pair]:
    return [real_parts(pair) for pair in pairs]


def _joined(pairs: Sequence[Pair], of: str) -> Pair:
    """Whole outputs, for the metrics that cannot do without."""
    if len({r.shape[1:] for r, _ in pairs}) > 1 or not pairs[0][0].ndim or of == "values":
        pairs = [(r.ravel(), c.ravel()) for r, c in _real(pairs)]
    r, c = pairs[0] if len(pairs) == 1 else (np.concatenate(side) for side in zip(*pairs, strict=True))
    if of == "tensors":
        return r, c
    r, c = r.astype(np.float64), c.astype(np.float64)
    finite = np.isfinite(r) & np.isfinite(c)
    return r[finite], c[finite]
