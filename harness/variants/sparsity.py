"""prune-2:4: of every four weights that are added up together the two smallest become zero.

Sparse tensor cores take such weights: at most two of four consecutive ones along the input channels are not zero
(Mishra et al., Accelerating Sparse Deep Neural Networks, arXiv:2104.08378; TensorRT asks for the same).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.cache import Cache
from harness.errors import Unsupported
from harness.records import Plan
from harness.sources import Fetched
from harness.sources.inspect import ModelInfo
from harness.variants import Variant
from harness.variants.chains import Step
from harness.variants.graph import finish, load_model
from harness.variants.store import Made, kept
from harness.variants.weights import Values, Weight, named, some, zero_share

STEP = "prune-2:4"
GROUP, KEPT = 4, 2


def two_of_four(step: Step, plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant:  # noqa: ARG001
    """The model with weights in the 2:4 pattern; layers with fewer than four input channels stay dense (noted)."""
    return kept(STEP, (fetched.sha256, f"{STEP}/1"), cache, lambda: make(fetched.model))


def make(path: Path) -> Made:
    """The pruned model of a file, and notes on it."""
    model, notes = load_model(path)
    every = some(STEP, model)
    able = [weight for weight in every if takes(weight)]
    if not able:
        raise Unsupported(f"cannot make the {STEP} variant: no layer has four input channels or more to prune among")
    changed = [weight for weight in able if not is_sparse(weight.values, weight.axis)]
    if not changed:
        raise Unsupported(f"cannot make the {STEP} variant: the weights have that pattern already")
    for weight in changed:
        weight.store(pruned(weight.values, weight.axis))
    finish(model, path)
    return model, (*notes, *told(every, able, zero_share(every)))


def takes(weight: Weight) -> bool:
    """Whether sparse kernels can take a layer's weight: transposed convolutions and few channels they do not."""
    return str(weight.node.op_type) != "ConvTranspose" and weight.values.shape[weight.axis] >= GROUP


def pruned(values: Values, axis: int) -> Values:
    """The weights with the two smallest of every four along an axis set to zero; an incomplete last group is filled."""
    groups = _groups(values, axis)
    smallest = np.argsort(np.abs(groups), axis=-1, kind="stable")[..., : GROUP - KEPT]
    np.put_along_axis(groups, smallest, 0, axis=-1)
    size = values.shape[axis]
    flat = groups.reshape(*groups.shape[:-2], -1)[..., :size]
    made: Values = np.moveaxis(flat, -1, axis)
    return made


def is_sparse(values: Values, axis: int) -> bool:
    """Whether at most two of every four along an axis are not zero."""
    most = int(np.count_nonzero(_groups(values, axis), axis=-1).max(initial=0))
    return most <= KEPT


def _groups(values: Values, axis: int) -> Values:
    """A copy whose last axis is the four of a group, filled with zeros at the end."""
    moved = np.moveaxis(values, axis, -1)
    fill = -moved.shape[-1] % GROUP
    padded = np.pad(moved, [(0, 0)] * (moved.ndim - 1) + [(0, fill)])
    return padded.reshape(*moved.shape[:-1], -1, GROUP)


def told(every: list[Weight], able: list[Weight], zeros: float) -> list[str]:
    """Notes on what became sparse."""
    dense = [weight.layer for weight in every if not any(weight is one for one in able)]
    notes = [f"{STEP}: {len(able)} of {len(every)} layers are sparse, {zeros:.1%} of all weights are zero"]
    return notes + [f"{STEP}: left dense, with fewer than four input channels: {named(dense)}"] * bool(dense)
