"""Inputs made from raw files by a declared preparation: decoded once, then kept as arrays by everything that decides.

A preparation is a function `make(samples, settings) -> Made` in `harness.inputs.PREPARATIONS`, with a `Kind` beside it:
arrays whose first axis are the samples, in their order; InputError names every file that it cannot use (see `each`).
What is made is kept in the cache under the digests of the files, the settings, the versions of the packages that decode
and the code of the preparation. From there on it is as if the suite had named files of arrays.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from harness.cache import Cache
from harness.errors import InputError
from harness.inputs import PREPARATIONS
from harness.inputs.dtypes import Array
from harness.inputs.files import read_array
from harness.inputs.kinds import KINDS, LABELS, LENGTHS, Kind, versions
from harness.inputs.samples import MAX_WRONG, Sample, empty, mislabelled, read_labels, samples
from harness.records import InputSpec, Plan, Preparation
from harness.sources.digest import file_digest

T = TypeVar("T")


@dataclass(frozen=True)
class Made:
    """Arrays by name, the samples along the first axis."""

    arrays: Mapping[str, Array]
    rows: Sequence[int] | None = None
    """Which samples they hold, where those are not all."""
    names: Sequence[str] | None = None
    """What the rows are called, of a kind whose files hold several samples."""
    others: Collection[str] = ()
    """Samples that are there and were not taken; they may have labels too."""


def each(found: Sequence[Sample], read: Callable[[Path], T]) -> list[T]:
    """What `read` makes of every file; one InputError that names all files it refuses."""
    made, wrong = [], []
    for one in found:
        try:
            made.append(read(one.file))
        except InputError as error:
            wrong.append(f"{one.name}: {error}")
            if len(wrong) == MAX_WRONG:
                break
    if wrong:
        raise InputError("; ".join(wrong))
    return made


def prepared(spec: InputSpec, plan: Plan, cache: Cache | None) -> Array:
    """The rows of a prepared input; InputError says which file or setting is wrong."""
    arrays = _arrays(_of(spec), plan, cache)
    return _sliced(arrays[spec.key or next(iter(arrays))], spec)


def prepared_labels(plan: Plan, cache: Cache | None) -> tuple[Array | None, Array | None]:
    """The labels of the task where they come with a prepared input, row by row as that input, and its lengths."""
    name = plan.task.labels_input if plan.task else None
    if name is None:
        return None, None
    spec = plan.inputs[name]
    arrays = _arrays(_of(spec), plan, cache)
    return _sliced(arrays[LABELS], spec), _sliced(arrays[LENGTHS], spec) if LENGTHS in arrays else None


def _of(spec: InputSpec) -> Preparation:
    if spec.preparation is None:
        raise InputError("the input says no preparation")
    return spec.preparation


def _sliced(array: Array, spec: InputSpec) -> Array:
    return array if spec.slice is None else array[slice(*spec.slice)]


def _arrays(preparation: Preparation, plan: Plan, cache: Cache | None) -> Mapping[str, Array]:
    """Every array, found in the cache or made and kept there."""
    kind, make = KINDS[preparation.kind], PREPARATIONS.load(preparation.kind)
    found = samples(Path(preparation.source), kind.suffixes, lines=kind.lines)
    settings = settled(preparation.settings, plan)
    key = _key(preparation, settings, found, make)
    if cache is not None and (kept := cache.find("inputs", key)):
        return _read(kept.path, kept.about["arrays"])
    _check_packages(preparation, kind)
    if gone := empty(found):
        raise InputError(f"{', '.join(gone[:MAX_WRONG])}: empty (0 bytes) or gone")
    made: Made = make(found, {**settings, **preparation.beside})
    arrays = dict(made.arrays)
    if LABELS in preparation.beside:
        arrays[LABELS] = _labels(Path(preparation.beside[LABELS]), found, kind, made)
    return arrays if cache is None else _kept(cache, key, arrays)


def settled(settings: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """The settings of one case: `buckets`, the name of a dimension, becomes the range of lengths that the case takes.

    A sample goes to the smallest size that holds it, one that is too long for all of them to the largest. `length` is
    the case's size, `above` the next smaller one (0: none), `rest` whether the case takes what is longer.
    """
    name = settings.get("buckets")
    if name is None:
        return dict(settings)
    if name not in plan.dimensions:
        raise InputError(f"buckets: no entry of `shapes` sets a dimension '{name}'")
    here = plan.dimensions[name]
    sizes = [here] if plan.fuzzed else [shape[name] for shape in plan.shapes if name in shape]
    below = [size for size in sizes if size < here]
    return {**settings, "length": here, "above": max(below, default=0), "rest": here == max(sizes)}


def calibrating(preparation: Preparation, source: str, plan: Plan) -> Preparation:
    """The same preparation of other files, without labels; all of them at the largest size, where they are sorted."""
    settings = dict(preparation.settings)
    if name := settings.pop("buckets", None):
        settings["length"] = max((shape.get(name, 1) for shape in plan.shapes), default=1)
    beside = {key: file for key, file in preparation.beside.items() if key != LABELS}
    return replace(preparation, source=source, settings=settings, beside=beside)


def _key(
    preparation: Preparation, settings: Mapping[str, Any], found: Sequence[Sample], make: Callable[..., Made]
) -> dict[str, Any]:
    content = hashlib.sha256()
    for one in found:
        content.update(f"{len(one.name)} {one.name} {file_digest(one.file)}\n".encode())
    return {
        "preparation": preparation.kind,
        "settings": settings,
        "files": content.hexdigest(),
        "beside": {name: file_digest(Path(file)) for name, file in preparation.beside.items()},
        "versions": dict(preparation.versions),
        "code": [file_digest(Path(str(sys.modules[name].__file__))) for name in (__name__, *_modules(make))],
    }


def _modules(make: Callable[..., Made]) -> list[str]:
    """The module of a preparation, and those beside it that it takes functions from."""
    used = (getattr(value, "__module__", None) or "" for value in vars(sys.modules[make.__module__]).values())
    return sorted({make.__module__, *(name for name in used if name.startswith("harness.inputs."))})


def _check_packages(preparation: Preparation, kind: Kind) -> None:
    here = versions(kind)
    if lacking := [name for name in kind.packages if name not in here]:
        raise InputError(
            f"`{preparation.kind}` needs the package {', '.join(lacking)}: pip install 'trt-harness[{kind.extra}]'"
        )
    for name, wanted in preparation.versions.items():
        if here[name] != wanted:
            raise InputError(f"{name} is {here[name]} here and {wanted} where the run began: install the same")


def _labels(table: Path, found: Sequence[Sample], kind: Kind, made: Made) -> Array:
    labels = [one for one in read_labels(table) if one.name not in made.others]
    rows, names = made.rows, made.names or [one.name for one in found]
    if wrong := mislabelled(labels, names, classes=kind.classes):
        line, words = wrong[0]
        raise InputError(f"{table}:{line}:1: {words}")
    by_name = {one.name: one.value for one in labels}
    chosen = [by_name[names[row]] for row in (range(len(names)) if rows is None else rows)]
    return np.array([int(value) for value in chosen], np.int64) if kind.classes else np.array(chosen, np.str_)


def _kept(cache: Cache, key: Mapping[str, Any], arrays: Mapping[str, Array]) -> Mapping[str, Array]:
    try:
        with cache.workplace() as place:
            folder = place / "inputs"
            folder.mkdir()
            for name, array in arrays.items():
                np.save(folder / f"{name}.npy", array, allow_pickle=False)
            kept = cache.keep("inputs", key, folder, {"arrays": list(arrays)})
            return _read(kept.path, kept.about["arrays"])
    except OSError as error:
        cache.say(f"{cache.folder}: prepared inputs cannot be kept: {error.strerror}")
        return arrays


def _read(folder: Path, names: Sequence[str]) -> dict[str, Array]:
    return {name: read_array(folder / f"{name}.npy") for name in names}
