"""The range of shapes that one engine serves."""

from __future__ import annotations

from collections.abc import Sequence

from harness.backends.base import Feeds
from harness.records import Plan
from harness.sources.inspect import ModelInfo, TensorInfo

Shape = tuple[int, ...]


def profile(plan: Plan, info: ModelInfo, batches: Sequence[Feeds]) -> dict[str, tuple[Shape, Shape, Shape]]:
    """Smallest, typical and largest shape of every dynamic input.

    From the suite's `profile`, else the smallest, last and largest value among its `shapes`, widened to what the
    batches need (a last batch may be smaller).
    """
    dynamic = [tensor for tensor in info.inputs if any(not isinstance(dim, int) for dim in tensor.dims or ())]
    return {tensor.name: _ranges(plan, tensor, [batch[tensor.name].shape for batch in batches]) for tensor in dynamic}


def _ranges(plan: Plan, tensor: TensorInfo, fed: Sequence[Shape]) -> tuple[Shape, Shape, Shape]:
    axes = [_range(plan, dim, [shape[axis] for shape in fed]) for axis, dim in enumerate(tensor.dims or ())]
    smallest, typical, largest = (tuple(axis[position] for axis in axes) for position in range(3))
    return smallest, typical, largest


def _range(plan: Plan, dim: int | str | None, fed: Sequence[int]) -> tuple[int, int, int]:
    if isinstance(dim, int):
        return dim, dim, dim
    if plan.profile and dim in plan.profile:
        return plan.profile[str(dim)]
    listed = [shape[dim] for shape in plan.shapes if dim in shape] if dim is not None else []
    sizes = [*listed, *fed]
    return min(sizes), listed[-1] if listed else fed[0], max(sizes)
