"""Records as JSON values and back, checked against their type hints."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
from collections.abc import Hashable, Iterable, Mapping
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

R = TypeVar("R")

DEEPEST = 100
"""Levels of a file's JSON; what the harness writes has about ten."""
LONGEST_BITS = 1023
"""Whole numbers beyond that are no floats."""
_MAY_BE_LARGE = re.compile(r"\d{300}|\d[eE]\+?\d{3}")


def encode(value: Any) -> Any:
    """A record as JSON values; numbers that JSON lacks (NaN, infinities) become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | int) or value is None:
        return value
    if dataclasses.is_dataclass(value):
        return {name: encode(getattr(value, name)) for name in _hints(cast("Hashable", type(value)))}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    return [encode(item) for item in value]


def compact(value: Any) -> str:
    """The JSON text of `encode`, without spaces; several times as fast where every number is finite."""
    try:
        return json.dumps(value, default=_fields, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(encode(value), separators=(",", ":"))


def _fields(value: Any) -> Any:
    """One level of what JSON does not know."""
    if dataclasses.is_dataclass(value):
        return vars(value)
    return dict(value) if isinstance(value, Mapping) else list(value)


def parsed(text: str, *, constants: bool = False) -> Any:
    """JSON from a file that others may have changed; ValueError for what a record cannot hold.

    That is nesting without end, numbers that are too large, and NaN and infinities, unless `constants` lets those in.
    """
    try:
        data = json.loads(text, parse_constant=None if constants else _refused)
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} levels deep") from None
    if text.count("[") + text.count("{") <= DEEPEST and not _MAY_BE_LARGE.search(text):
        return data  # what has so few brackets is not deep: most lines of a journal need no walk
    level, depth = [data], 0
    while level := [item for one in level if isinstance(one, dict | list) for item in _items(one)]:
        depth += 1
        if depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} levels deep")
        for one in level:
            if (type(one) is int and one.bit_length() > LONGEST_BITS) or (
                not constants and one in (math.inf, -math.inf)
            ):
                raise ValueError("it holds a number that is too large")
    return data


def _refused(name: str) -> None:
    raise ValueError(f"it holds {name}, which is no number of JSON")


def _items(one: Mapping[str, Any] | list[Any]) -> Iterable[Any]:
    return one.values() if isinstance(one, Mapping) else one


def decode(kind: type[R], data: Any) -> R:
    """A record from JSON values; unknown keys are ignored, TypeError or ValueError names what does not fit."""
    return _decode(kind, data, kind.__name__)  # type: ignore[no-any-return]


@cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return get_type_hints(kind)


@cache
def _needed(kind: Any) -> tuple[str, ...]:
    """The fields of a record that have no default."""
    none = dataclasses.MISSING
    return tuple(f.name for f in dataclasses.fields(kind) if f.default is none and f.default_factory is none)


@cache
def _shape(kind: Hashable) -> tuple[Any, tuple[Any, ...]]:
    """What a type hint is made of: asking `typing` anew takes longer than decoding."""
    is_record = dataclasses.is_dataclass(kind) and isinstance(kind, type)
    return (_RECORD if is_record else get_origin(kind)), get_args(kind)


_RECORD = object()
_PLAIN = frozenset({str, int, float, bool})


def _decode(kind: Any, data: Any, where: str) -> Any:
    if kind is Any or (type(data) is kind and kind in _PLAIN):
        return data
    origin, args = _shape(kind)
    if origin in (Union, types.UnionType):
        return _decode_union(args, data, where)
    if origin is _RECORD:
        return _decode_record(kind, data, where)
    if origin is tuple:
        return _decode_tuple(args, data, where)
    if origin is Mapping:
        if not isinstance(data, dict):
            raise TypeError(f"{where}: expected an object, not {data!r:.40}")
        return {key: _decode(args[1], item, f"{where}.{key}") for key, item in data.items()}
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return _float(data, where)
    if (kind is int and isinstance(data, bool)) or not isinstance(data, kind):
        raise TypeError(f"{where}: expected {kind.__name__}, not {data!r:.40}")
    return data


def _float(data: int, where: str) -> float:
    try:
        return float(data)
    except OverflowError:
        raise ValueError(f"{where}: a number of {data.bit_length()} bits is too large") from None


def _decode_union(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in kinds:
        return None
    error: Exception | None = None
    for kind in kinds:
        try:
            return _decode(kind, data, where)
        except (TypeError, ValueError) as failure:
            error = error or failure
    raise error or TypeError(where)


def _decode_record(kind: type, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise TypeError(f"{where}: expected an object, not {data!r:.40}")
    hints = _hints(kind)
    if missing := [name for name in _needed(kind) if name not in data]:
        raise ValueError(f"{where}: missing {', '.join(missing)}")
    return kind(**{name: _decode(hint, data[name], f"{where}.{name}") for name, hint in hints.items() if name in data})


def _decode_tuple(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    if not isinstance(data, list | tuple):
        raise TypeError(f"{where}: expected a list, not {data!r:.40}")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_decode(kinds[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if len(kinds) != len(data):
        raise TypeError(f"{where}: expected {len(kinds)} values, not {len(data)}")
    return tuple(_decode(k, item, f"{where}[{i}]") for i, (k, item) in enumerate(zip(kinds, data, strict=True)))
