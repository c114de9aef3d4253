"""Seeded generators of inputs: the same spec, name and batch give the same values on every machine."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import numpy as np

from harness.errors import InputError
from harness.inputs.dtypes import Array, family, integer_range
from harness.records import InputSpec

Shape = tuple[int, ...]
DType = np.dtype[Any]


def generator(seed: int, name: str, batch: int) -> np.random.Generator:
    """The source of randomness of one input in one batch; other inputs do not disturb it."""
    return np.random.default_rng((seed, crc32(name.encode()), batch))


def normal(spec: InputSpec, dtype: DType, shape: Shape, rng: np.random.Generator) -> Array:
    """Normally distributed values, `spec.range` is mean and standard deviation (0 and 1); floats only."""
    _require(dtype, "float", spec.kind)
    mean, deviation = spec.range or (0.0, 1.0)
    return np.asarray(rng.normal(mean, deviation, shape)).astype(dtype)


def uniform(spec: InputSpec, dtype: DType, shape: Shape, rng: np.random.Generator) -> Array:
    """Values from low to below high, `spec.range` (0 and 1); floats only."""
    _require(dtype, "float", spec.kind)
    low, high = spec.range or (0.0, 1.0)
    return np.asarray(rng.uniform(low, high, shape)).astype(dtype)


def integers(spec: InputSpec, dtype: DType, shape: Shape, rng: np.random.Generator) -> Array:
    """Whole numbers from low to below high, `spec.range` (0 and 2), in any numeric type that holds them."""
    _require_number(dtype, spec.kind)
    low, high = (int(bound) for bound in spec.range or (0, 2))
    least, most = _limits(dtype)
    if not least <= low < high <= most + 1:
        raise InputError(f"integers from {low} to below {high} do not fit {dtype.name}; change the range")
    return np.asarray(rng.integers(low, high, shape)).astype(dtype)


def ones(spec: InputSpec, dtype: DType, shape: Shape, rng: np.random.Generator) -> Array:  # noqa: ARG001
    """Ones (true for booleans)."""
    _require_number(dtype, spec.kind)
    return np.ones(shape, dtype)


def zeros(spec: InputSpec, dtype: DType, shape: Shape, rng: np.random.Generator) -> Array:  # noqa: ARG001
    """Zeros (false for booleans)."""
    _require_number(dtype, spec.kind)
    return np.zeros(shape, dtype)


def fit_to_dtype(spec: InputSpec, dtype: DType, shape: Shape, rng: np.random.Generator) -> Array:  # noqa: ARG001
    """Values that any model takes: standard normal floats, all of int8 and uint8, otherwise 0 and 1.

    0 and 1 are valid as token ids, masks and types alike.
    """
    _require_number(dtype, "random")
    if family(dtype) == "float":
        return np.asarray(rng.standard_normal(shape)).astype(dtype)
    low, high = integer_range(dtype) if dtype.name in ("int8", "uint8") else (0, 1)
    return np.asarray(rng.integers(low, high + 1, shape)).astype(dtype)


def _limits(dtype: DType) -> tuple[int, int]:
    if family(dtype) == "integer":
        return integer_range(dtype)
    return (0, 1) if family(dtype) == "bool" else (-(2**63), 2**63 - 1)


def _require(dtype: DType, wanted: str, kind: str) -> None:
    if family(dtype) != wanted:
        raise InputError(
            f"'{kind}' makes {wanted}s, the input is {dtype.name}; use 'integers', 'ones', 'zeros' or a file"
        )


def _require_number(dtype: DType, kind: str) -> None:
    if family(dtype) not in ("float", "integer", "bool"):
        word = "string" if family(dtype) == "string" else dtype.name
        raise InputError(f"'{kind}' values cannot be made for type {word}; give a file")
