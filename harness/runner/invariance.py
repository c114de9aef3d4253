"""Rows of a batch in other places: what a row gives depends neither on where it stands nor on how many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.backends.base import Feeds, Tensor
from harness.judge.fidelity import limits_at
from harness.judge.invariance import FLIPS
from harness.metrics.fidelity import Noise, distances
from harness.metrics.slices import Array, Differences, differences
from harness.records import Measurement
from harness.sources.inspect import ModelInfo, TensorInfo

Outputs = Mapping[str, Tensor]
Profile = Mapping[str, tuple[tuple[int, ...], ...]]


@dataclass(frozen=True)
class Move:
    """The first batch of a case with its rows moved: its row i is row `rows[i]` of that batch."""

    name: str
    """"batch_position": in reversed order; "batch_padding": without the last one."""
    feeds: Feeds
    rows: NDArray[np.intp]
    of: int
    """Rows of the first batch."""
    inputs: tuple[str, ...]
    """The inputs that were moved."""

    def fits(self, profile: Profile) -> bool:
        """Whether an engine made for a profile serves it."""
        return all(profile[name][0][0] <= len(self.rows) for name in self.inputs if name in profile)


def moves(info: ModelInfo, batch: Feeds) -> tuple[Move, ...]:
    """The moves of a batch; none where no dynamic axis 0 holds several rows, or it is another axis as well."""
    dynamic = [tensor for tensor in info.inputs if _is_batched(tensor)]
    symbol = dynamic[0].dims[0] if dynamic and dynamic[0].dims else None
    moved = [tensor.name for tensor in dynamic if tensor.dims and tensor.dims[0] == symbol]
    sizes = {len(batch[name]) for name in moved}
    elsewhere = symbol is not None and any(symbol in (tensor.dims or ())[1:] for tensor in info.inputs)
    if elsewhere or len(sizes) != 1 or max(sizes) < 2:
        return ()
    (size,) = sizes
    orders = {"batch_position": np.arange(size)[::-1], "batch_padding": np.arange(size - 1)}
    return tuple(
        Move(name, {key: value[rows] if key in moved else value for key, value in batch.items()}, rows, size, (*moved,))
        for name, rows in orders.items()
    )


def _is_batched(tensor: TensorInfo) -> bool:
    return bool(tensor.dims) and not isinstance((tensor.dims or (0,))[0], int)


@dataclass(frozen=True)
class Yardstick:
    """How far outputs may be apart: what rounding does to floats, and where others are the same in every evaluation."""

    noise: Mapping[str, Noise]
    steady: Mapping[str, Sequence[Tensor]]


def apart(move: Move, first: Outputs, moved: Outputs, by: Yardstick) -> Iterator[Measurement]:
    """How far each output of a moved batch is from the same rows of the first; of outputs with a row for every row.

    Floats in multiples of what rounding does to the worst slice, others by how many elements differ; None when the
    shape differs or what is finite.
    """
    for name in (*by.noise, *by.steady):
        if name not in first or name not in moved or not first[name].ndim or len(first[name]) != move.of:
            continue
        expected, found = first[name][move.rows], moved[name]
        metric = move.name if name in by.noise else move.name + FLIPS
        if expected.shape != found.shape:
            yield Measurement(name, metric, None, detail=f"{list(found.shape)} for {list(expected.shape)}")
        elif name in by.noise:
            yield _times(move, name, differences([expected], [found]), by.noise[name])
        else:
            flips = np.count_nonzero(by.steady[name][0][move.rows] & (expected != found))
            yield Measurement(name, metric, float(flips))


def _times(move: Move, name: str, found: Differences, noise: Noise) -> Measurement:
    if found.nonfinite or found.masked:
        count = found.nonfinite + found.masked
        return Measurement(name, move.name, None, detail=f"{count} elements are finite in one and not in the other")
    axes = [axis for axis in found.axes if axis in noise.spread]
    own = replace(
        noise,
        spread=_rows_of(noise.spread, axes, move.rows),
        drift=_rows_of(noise.drift, axes, move.rows),
        floor=_rows_of(noise.floor, axes, move.rows),
    )
    worst = distances(replace(found, axes={axis: found.axes[axis] for axis in axes}), own)["slice"]
    place = f"row {move.rows[worst.index]}" if worst.axis == 0 else f"axis {worst.axis} index {worst.index}"
    return Measurement(name, move.name, worst.times, {"noise_rms": noise.rms()}, place)


def _rows_of(sums: Mapping[int, Array], axes: Sequence[int], rows: NDArray[np.intp]) -> dict[int, Array]:
    """Of axis 0, the slices that are rows of the first batch."""
    return {axis: sums[axis][rows] if axis == 0 else sums[axis] for axis in axes}


def independent(
    move: Move, first: Outputs, infer: Callable[[Feeds], Outputs], by: Yardstick, precision: str
) -> tuple[list[str], str]:
    """The outputs whose rows depend on no other row in the precision twin; and why others are not judged, in words.

    The twin decides what the model means: a row may rightly depend on others, and a batch without one may be refused.
    """
    try:
        found = list(apart(move, first, infer(move.feeds), by))
    except Exception as error:  # whatever a runtime raises: the model does not take such a batch
        return [], f"{move.name} is not judged: the precision twin refuses the batch ({type(error).__name__})"
    limit = limits_at(precision)["twin_slice"] / 2
    held = [
        str(m.output) for m in found if m.value is not None and m.value <= (0 if m.metric.endswith(FLIPS) else limit)
    ]
    mixed = [f"'{m.output}'" for m in found if m.output not in held]
    why = f"{move.name} is not judged on {', '.join(mixed)}: rows depend on each other in the model" if mixed else ""
    return held, why
