"""Defects in the outputs: lost, stuck, mixed up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Rng = np.random.Generator
Outputs = dict[str, np.ndarray[Any, Any]]
Change = Callable[[Outputs, Rng], Outputs | None]


def _some(outputs: Outputs, rng: Rng, kinds: str) -> str | None:
    names = [name for name, array in outputs.items() if array.dtype.kind in kinds]
    return names[rng.integers(len(names))] if names else None


def element(value: float) -> Change:
    """One element of one output has a value that is no number."""

    def change(outputs: Outputs, rng: Rng) -> Outputs | None:
        name = _some(outputs, rng, "f")
        if name is None:
            return None
        array = outputs[name].copy()
        array.ravel()[rng.integers(array.size)] = value
        return {**outputs, name: array}

    return change


def missing(outputs: Outputs, rng: Rng) -> Outputs | None:
    """One output is not there."""
    name = sorted(outputs)[rng.integers(len(outputs))]
    return {key: array for key, array in outputs.items() if key != name}


def stuck(outputs: Outputs, rng: Rng) -> Outputs | None:
    """One element keeps its value over all rows."""
    name = _some(outputs, rng, "f")
    if name is None:
        return None
    array = outputs[name].copy()
    rows = array.reshape(len(array), -1)
    column = rng.integers(rows.shape[1])
    rows[:, column] = rows[0, column]
    return {**outputs, name: array}


def zeroed(outputs: Outputs, rng: Rng) -> Outputs | None:
    """One row was never written."""
    name = _some(outputs, rng, "f")
    if name is None:
        return None
    array = outputs[name].copy()
    array[rng.integers(len(array))] = 0
    return {**outputs, name: array}


def other_row(outputs: Outputs, rng: Rng) -> Outputs | None:
    """One row computed from another one's data."""
    size = min(len(array) for array in outputs.values())
    row = int(rng.integers(1, size))
    order = np.arange(size)
    order[row] = row - 1
    return {name: array[order] for name, array in outputs.items()}


def shifted_index(share: float) -> Change:
    """Some integer outputs one too high."""

    def change(outputs: Outputs, rng: Rng) -> Outputs | None:
        name = _some(outputs, rng, "iu")
        if name is None:
            return None
        array = outputs[name].copy()
        chosen = rng.random(array.shape) < share
        chosen.ravel()[0] = True
        return {**outputs, name: (array + chosen).astype(array.dtype)}

    return change


def ties_other_way(outputs: Outputs, rng: Rng) -> Outputs | None:
    """The last of the nearly largest numbers chosen where the first was asked for."""
    if not {"label", "logits"} <= {*outputs}:
        return None
    logits = outputs["logits"]
    near = logits >= logits.max(axis=1, keepdims=True) - 0.05 * logits.std()
    label = logits.shape[1] - 1 - np.argmax(near[:, ::-1], axis=1)
    changed = label.astype(outputs["label"].dtype)
    return None if np.array_equal(changed, outputs["label"]) else {**outputs, "label": changed}
