"""The feeds of a case: stored, streamed from files or seeded, cut into batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.cache import Cache
from harness.errors import InputError, did_you_mean
from harness.inputs import GENERATORS
from harness.inputs.dtypes import Array, family
from harness.inputs.given import as_wanted, dtype_of, given_labels, given_rows, shown
from harness.inputs.random import generator
from harness.inputs.room import check_room
from harness.inputs.stored import require_tensors, stored_inputs
from harness.records import InputSpec, Plan
from harness.sources.inspect import ModelInfo, TensorInfo

_DEFAULT = InputSpec(kind="default")
_RANDOM = ("normal", "uniform", "integers")
MAX_BATCHES = 1_000_000
"""Batches that a file is cut into at most: each is held as an entry of its own."""
_UNNAMED = ""
"""Stands for a first axis without a name: inputs that have one share the batch's rows."""


@dataclass(frozen=True)
class Feeds:
    """What a case is fed with, batch by batch; the first batch is the one that is timed."""

    batches: tuple[dict[str, Array], ...]
    digest: str
    """SHA-256 over names, types, shapes and values of every batch."""
    notes: tuple[str, ...]
    """What was assumed, for the report."""
    labels: Array | None = None
    """Of the task, row by row, where they come with an input."""
    lengths: Array | None = None
    """How much of each row of that input is no padding, where it pads."""


@dataclass(frozen=True)
class _Given:
    """Data that is not generated: the arrays of one batch, and the rows a smaller last batch has."""

    arrays: Mapping[str, Array]
    rows: Mapping[str, int]


def feeds(plan: Plan, info: ModelInfo, test_sets: tuple[Path, ...], cache: Cache | None = None) -> Feeds:
    """The feeds of a case, in the order of the graph's inputs; what is made from raw files is kept in `cache`.

    Raises InputError when a file, name, shape or type does not fit, Unsupported for sequences and optionals.
    """
    require_tensors("input", info.inputs)
    _check_names(plan, info)
    notes: dict[str, None] = {}  # an ordered set
    files = given_rows(plan, info, notes, cache)
    uses_sets = _uses_sets(plan, info, test_sets)
    given = _stored(plan, info, test_sets, files, notes) if uses_sets else _streamed(plan, info, files, notes)
    batches = tuple(_batch(plan, info, one, number, notes) for number, one in enumerate(given))
    return Feeds(batches, feeds_digest(batches), tuple(notes), *given_labels(plan, cache))


def further(
    plan: Plan,
    info: ModelInfo,
    test_sets: tuple[Path, ...],
    first: Mapping[str, Array],
    rows: int,
    cache: Cache | None = None,
) -> tuple[dict[str, Array], ...]:
    """Batches after the first, as many as make at least `rows` rows with it, of a case whose inputs are random.

    None where the inputs are given, or are the same in every batch.
    """
    random = [t for t in info.inputs if plan.inputs.get(t.name, _DEFAULT).kind in (_DEFAULT.kind, *_RANDOM)]
    if not random or _uses_sets(plan, info, test_sets):
        return ()
    given = _streamed(plan, info, given_rows(plan, info, {}, cache), {})
    if len(given) != 1:
        return ()
    size = max((len(first[tensor.name]) for tensor in random if first[tensor.name].ndim), default=1)
    return tuple(_batch(plan, info, given[0], number, {}) for number in range(1, -(-rows // max(1, size))))


def feeds_digest(batches: Iterable[Mapping[str, Array]]) -> str:
    """SHA-256 in hexadecimal over name, type, shape and bytes of every tensor of every batch."""
    digest = hashlib.sha256()
    for batch in batches:
        digest.update(f"batch {len(batch)}\n".encode())
        for name, array in batch.items():
            digest.update(f"{len(name)} {name} {array.dtype.name} {array.shape}\n".encode())
            for block in _bytes(array):
                digest.update(block)
    return digest.hexdigest()


def _bytes(array: Array) -> Iterator[bytes | memoryview]:
    if array.dtype == object:
        for text in array.ravel().tolist():
            yield f"{len(str(text).encode())} {text}".encode()
    else:
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _check_names(plan: Plan, info: ModelInfo) -> None:
    inputs = {tensor.name for tensor in info.inputs}
    for name in plan.inputs:
        if name not in inputs:
            raise InputError(f"the model has no input '{name}'{did_you_mean(name, inputs)}")
    symbols = {dim for tensor in info.inputs for dim in tensor.dims or () if isinstance(dim, str)}
    for name in plan.dimensions:
        if name not in symbols:
            hint = did_you_mean(name, symbols) or "; all its dimensions are fixed, leave out `shapes`"
            raise InputError(f"the model's inputs have no dimension '{name}'{hint}")


def _uses_sets(plan: Plan, info: ModelInfo, test_sets: Sequence[Path]) -> bool:
    left = any(tensor.name not in plan.inputs for tensor in info.inputs)
    return bool(test_sets) and (left or not info.inputs)


def _stored(
    plan: Plan,
    info: ModelInfo,
    test_sets: Sequence[Path],
    files: Mapping[str, Array],
    notes: dict[str, None],
) -> tuple[_Given, ...]:
    if streams := _streams(plan, info, files):
        raise InputError(
            f"input '{streams[0].name}': its file has more rows than one batch, and other inputs come from "
            "test_data_set folders; name every input under `inputs`, or `slice` the file"
        )
    sets = stored_inputs(info, test_sets, frozenset(plan.inputs))
    return tuple(
        _Given({**_typed(arrays, info, str(folder), notes), **files}, {})
        for folder, arrays in zip(test_sets, sets, strict=True)
    )


def _typed(arrays: Mapping[str, Array], info: ModelInfo, where: str, notes: dict[str, None]) -> dict[str, Array]:
    return {
        tensor.name: as_wanted(tensor, arrays[tensor.name], where, notes)
        for tensor in info.inputs
        if tensor.name in arrays
    }


def _streams(plan: Plan, info: ModelInfo, files: Mapping[str, Array]) -> list[TensorInfo]:
    """The inputs whose files go through in batches: those with more rows than one, and those that share their axis."""
    tensors = [tensor for tensor in info.inputs if tensor.name in files and tensor.dims]
    longer = [tensor for tensor in tensors if len(files[tensor.name]) > _batch_size(plan, tensor)]
    axes = {_axis(tensor) for tensor in longer}
    return [tensor for tensor in tensors if tensor in longer or _axis(tensor) in axes]


def _axis(tensor: TensorInfo) -> int | str | TensorInfo:
    """What inputs share that are cut together: the name of their first axis; a fixed one is shared with nobody."""
    first = tensor.dims[0] if tensor.dims else None
    return tensor if isinstance(first, int) else first or _UNNAMED


def _batch_size(plan: Plan, tensor: TensorInfo) -> int:
    first = tensor.dims[0] if tensor.dims else None
    return first if isinstance(first, int) else plan.dimensions.get(first or _UNNAMED, 1)


def _streamed(plan: Plan, info: ModelInfo, files: Mapping[str, Array], notes: dict[str, None]) -> tuple[_Given, ...]:
    streams = _streams(plan, info, files)
    if not streams:
        return (_Given(files, {}),)
    rows, size = _agreed(plan, streams, files)
    if rows > MAX_BATCHES * size:
        raise InputError(
            f"input '{streams[0].name}': {rows} rows in batches of {size} are more than {MAX_BATCHES} batches; "
            "set a larger batch in `shapes`, or `slice` the file"
        )
    symbols = [axis for axis in map(_axis, streams) if isinstance(axis, str)]
    for tensor in streams:
        _note_unset(tensor, 0, plan.dimensions, notes)
    return tuple(
        _Given(
            {**files, **{tensor.name: files[tensor.name][start : start + size] for tensor in streams}},
            dict.fromkeys(symbols, min(size, rows - start)),
        )
        for start in range(0, rows, size)
    )


def _agreed(plan: Plan, streams: Sequence[TensorInfo], files: Mapping[str, Array]) -> tuple[int, int]:
    """Rows of all streamed files and rows of a batch; InputError when the inputs differ or the last batch cannot be."""
    found = {tensor.name: (len(files[tensor.name]), _batch_size(plan, tensor)) for tensor in streams}
    if len(set(found.values())) > 1:
        told = ", ".join(f"'{name}' {rows} in batches of {size}" for name, (rows, size) in found.items())
        raise InputError(
            f"the files of the inputs have different numbers of rows: {told}; make them equal with `slice`"
        )
    rows, size = next(iter(found.values()))
    fixed = [tensor.name for tensor in streams if tensor.dims and isinstance(tensor.dims[0], int)]
    if size == 0 or (rows % size and fixed):
        raise InputError(
            f"input '{(fixed or list(found))[0]}': {rows} rows do not divide into batches of {size}, "
            f"which is the size the model wants; use `slice` to take {rows - rows % size if size else 0} of them"
        )
    return rows, size


def _batch(plan: Plan, info: ModelInfo, given: _Given, number: int, notes: dict[str, None]) -> dict[str, Array]:
    dims = {**plan.dimensions, **given.rows}
    for tensor in info.inputs:
        if tensor.name in given.arrays:
            _bind(tensor, given.arrays[tensor.name], dims)
    return {
        tensor.name: given.arrays[tensor.name]
        if tensor.name in given.arrays
        else _generated(plan.inputs.get(tensor.name, _DEFAULT), tensor, dims, number, notes)
        for tensor in info.inputs
    }


def _bind(tensor: TensorInfo, array: Array, dims: dict[str, int]) -> None:
    """Checks the shape of given data and learns from it the dimensions that are not set; InputError names both."""
    if tensor.dims is None:
        return
    wanted = {axis: _size(dim, dims) for axis, dim in enumerate(tensor.dims)}
    if any(size is not None and size != array.shape[axis] for axis, size in wanted.items()):
        expected = shown([dim if wanted[axis] is None else _told(dim, dims) for axis, dim in enumerate(tensor.dims)])
        raise InputError(
            f"input '{tensor.name}': expected {expected}, found {list(array.shape)} in its data; "
            "give data of that shape, or change `shapes` (`profile`, where shape_fuzz drew them)"
        )
    for axis, dim in enumerate(tensor.dims):
        if isinstance(dim, str):
            dims[dim] = array.shape[axis]
        elif dim is None and axis == 0:
            dims[_UNNAMED] = array.shape[0]


def _size(dim: int | str | None, dims: Mapping[str, int]) -> int | None:
    return dim if isinstance(dim, int) or dim is None else dims.get(dim)


def _told(dim: int | str | None, dims: Mapping[str, int]) -> int | str | None:
    return f"{dim}={dims[dim]}" if isinstance(dim, str) else dim


def _generated(
    spec: InputSpec, tensor: TensorInfo, dims: Mapping[str, int], number: int, notes: dict[str, None]
) -> Array:
    if tensor.dims is None:
        raise InputError(f"input '{tensor.name}': the model does not say its shape; give a file under `inputs`")
    dtype = dtype_of(tensor)
    for axis in range(len(tensor.dims)):
        _note_unset(tensor, axis, dims, notes)
    shape = tuple(_extent(dim, axis, dims) for axis, dim in enumerate(tensor.dims))
    if spec.kind == "default" and family(dtype) == "integer" and dtype.name not in ("int8", "uint8"):
        notes[f"input '{tensor.name}' is not set: random 0 and 1"] = None
    check_room(f"input '{tensor.name}'", shape, max(8, dtype.itemsize))  # random numbers are drawn as float64
    try:
        array: Array = GENERATORS.load(spec.kind)(spec, dtype, shape, generator(spec.seed, tensor.name, number))
    except InputError as error:
        raise InputError(f"input '{tensor.name}': {error}") from None
    return array


def _extent(dim: int | str | None, axis: int, dims: Mapping[str, int]) -> int:
    if isinstance(dim, int):
        return dim
    name = _UNNAMED if dim is None and axis == 0 else dim
    return 1 if name is None else dims.get(name, 1)


def _note_unset(tensor: TensorInfo, axis: int, dims: Mapping[str, int], notes: dict[str, None]) -> None:
    dim = tensor.dims[axis] if tensor.dims else None
    if isinstance(dim, str) and dim not in dims:
        notes[f"dimension '{dim}' is not set: 1"] = None
    elif dim is None and not (axis == 0 and _UNNAMED in dims):
        notes[f"axis {axis} of input '{tensor.name}' has no name: 1"] = None
