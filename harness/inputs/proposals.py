"""Inputs and shapes for a model that nobody has described yet, from what its graph says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.inputs.outline import InputOutline, Outline
from harness.records import InputSpec

SEED = 7
BATCHES = (1, 8)
_BATCH = re.compile(r"^(n|b|bs|bsz)$|batch", re.IGNORECASE)
_SEQUENCE = re.compile(r"^[slt]$|seq|len|tok|time|frame|ctx|context", re.IGNORECASE)
_PAST = re.compile(r"past|cache", re.IGNORECASE)
_TOTAL = re.compile(r"total|kv_", re.IGNORECASE)
_MASK = re.compile(r"mask", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9._+-]+")
"""What the name of a dimension may be in a suite."""
PAST = 16
CHANNELS = (1, 3)
"""What an image has; four are those of latents."""


@dataclass(frozen=True)
class Sizes:
    """Values for the kinds of dimensions."""

    sequence: int
    image: int
    other: int


TRIED = (
    Sizes(128, 224, 16),
    Sizes(64, 256, 64),
    Sizes(32, 640, 32),
    Sizes(16, 64, 128),
    Sizes(8, 32, 8),
    Sizes(1, 1, 1),
)
"""Tried in this order until the model runs: many models take only some sizes, and do not say so."""


@dataclass(frozen=True)
class Proposal:
    """How one input is made, and why so."""

    spec: InputSpec
    why: str


def inputs(outline: Outline) -> dict[str, Proposal]:
    """A proposal for each input that one can be made for; texts and sequences have none."""
    made = {tensor.name: _input(tensor) for tensor in outline.inputs if tensor.kind == "tensor"}
    return {name: proposal for name, proposal in made.items() if proposal}


def _input(tensor: InputOutline) -> Proposal | None:
    if _MASK.search(tensor.name) and tensor.dtype != "string":
        return Proposal(InputSpec("ones"), "a mask that lets everything through")
    if tensor.dtype.startswith(("float", "bfloat")):
        return Proposal(InputSpec("normal", range=(0, 1), seed=SEED), "random: give real data as {file: …} if you can")
    if tensor.rows is not None and tensor.rows > 1:
        why = f"it picks from a table of {tensor.rows} rows"
        return Proposal(InputSpec("integers", range=(0, tensor.rows), seed=SEED), why)
    if tensor.dtype in ("int8", "uint8"):
        low = -128 if tensor.dtype == "int8" else 0
        return Proposal(InputSpec("integers", range=(low, low + 256), seed=SEED), "every value of its type")
    if tensor.dtype.startswith(("int", "uint", "bool")):
        return Proposal(InputSpec("integers", range=(0, 2), seed=SEED), "0 and 1, which fit ids, masks and types alike")
    return None


def shapes(outline: Outline) -> Iterator[tuple[Mapping[str, int], ...]]:
    """Lists of shapes to try in turn, each for batches of 1 and 8; one empty list for a model without such names."""
    seen: list[tuple[Mapping[str, int], ...]] = []
    for sizes in TRIED:
        values = dimensions(outline, sizes)
        batch = [name for name, value in values.items() if value is None]
        made = tuple({**values, **dict.fromkeys(batch, size)} for size in BATCHES) if batch else (values,)
        found = tuple(shape for shape in made if shape)
        if found not in seen:
            seen.append(found)  # type: ignore[arg-type]
            yield found  # type: ignore[misc]


def dimensions(outline: Outline, sizes: Sizes) -> dict[str, int | None]:
    """The named dimensions of the inputs with a value for each; None is a batch."""
    found: dict[str, int | None] = {}
    for tensor in outline.inputs:
        for axis, name in enumerate(tensor.dims or ()):
            if isinstance(name, str) and name not in found and _NAME.fullmatch(name):
                found[name] = _size(name, axis, tensor, sizes)
    past = sum(PAST for name in found if _PAST.search(name) and not _TOTAL.search(name))
    return {name: sizes.sequence + past if _TOTAL.search(name) and past else size for name, size in found.items()}


def unnamed(outline: Outline) -> list[str]:
    """Dimensions that a suite cannot set, in words."""
    return [
        f"axis {axis} of {tensor.name}" + (f" ('{name}')" if name else "")
        for tensor in outline.inputs
        for axis, name in enumerate(tensor.dims or ())
        if name is None or (isinstance(name, str) and not _NAME.fullmatch(name))
    ]


def _size(name: str, axis: int, tensor: InputOutline, sizes: Sizes) -> int | None:
    if _BATCH.search(name):
        return None
    if _PAST.search(name):
        return PAST
    if _SEQUENCE.search(name):
        return sizes.sequence
    if axis == 0:
        return None
    if axis in _image_axes(tensor):
        return sizes.image
    return sizes.sequence if tensor.dtype.startswith(("int", "uint")) else sizes.other


def _image_axes(tensor: InputOutline) -> tuple[int, ...]:
    """Height and width of an image tensor; empty for other tensors."""
    dims = tensor.dims or ()
    if len(dims) != 4:
        return ()
    if dims[3] in (*CHANNELS, 4) and not isinstance(dims[1], int):
        return (1, 2)
    return (2, 3) if dims[1] in CHANNELS else ()
