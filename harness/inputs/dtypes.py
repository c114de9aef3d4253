"""Element types by name, and casts that keep what the data means."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from harness.errors import InputError

Array = np.ndarray[Any, np.dtype[Any]]


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The dtype of a name such as "float32", "bfloat16" or "string" (objects); InputError when there is none."""
    if name == "string":
        return np.dtype(object)
    scalar = getattr(ml_dtypes, name, None)
    try:
        return np.dtype(scalar if isinstance(scalar, type) else name)
    except TypeError:
        raise InputError(f"tensors of type '{name}' are not known to numpy here; a newer ml_dtypes may help") from None


def family(dtype: np.dtype[Any]) -> str:
    """Casts stay inside one family: "float", "integer", "bool", "string" or "other"."""
    if dtype.kind in "OUS":
        return "string"
    if dtype.kind == "b":
        return "bool"
    if dtype.kind in "iu" or dtype.name in ("int2", "int4", "uint2", "uint4"):
        return "integer"
    return "float" if dtype.kind == "f" or dtype.name.startswith(("bfloat", "float")) else "other"


def integer_range(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The smallest and the largest value of an integer dtype."""
    limits: Any = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call, unused-ignore]
    return int(limits.min), int(limits.max)


def cast(array: Array, wanted: np.dtype[Any], what: str) -> tuple[Array, str | None]:
    """The array as `wanted`, and a note when that is another type; InputError where a cast would change its meaning.

    Floats become floats of another width, integers become integers that hold every value; nothing else is cast.
    """
    if array.dtype == wanted:
        return array.astype(wanted.newbyteorder("="), copy=False) if wanted.kind in "iufc" else array, None
    if family(wanted) == family(array.dtype) == "string":
        return _text(array, what), None
    if family(wanted) != family(array.dtype) or family(wanted) not in ("float", "integer"):
        raise InputError(f"{what}: expected {_word(wanted)}, found {_word(array.dtype)}; convert it in the file")
    if family(wanted) == "integer":
        _fits(array, wanted, what)
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, as it would on the way into the model
        return array.astype(wanted), f"{what}: cast from {array.dtype.name} to {wanted.name}"


def _fits(array: Array, wanted: np.dtype[Any], what: str) -> None:
    low, high = integer_range(wanted)
    if array.size and not (low <= int(array.min()) and int(array.max()) <= high):
        raise InputError(
            f"{what}: expected {wanted.name}, found {array.dtype.name} "
            f"with values from {array.min()} to {array.max()}, which do not fit"
        )


def _text(array: Array, what: str) -> Array:
    texts = [value.decode() if isinstance(value, bytes) else value for value in array.ravel().tolist()]
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"{what}: expected strings, found other objects")
    result = np.empty(len(texts), dtype=object)
    result[:] = texts
    return result.reshape(array.shape)


def _word(dtype: np.dtype[Any]) -> str:
    return "string" if family(dtype) == "string" else dtype.name
