"""What a worker finds in the cache instead of making it: engines, kernel times, reference outputs, precision twins."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

from harness import artefacts
from harness.backends.base import Artefact, Backend
from harness.backends.tensorrt import TIMING_CACHE
from harness.cache import Cache, Kept
from harness.codec import encode
from harness.errors import InputError, Unsupported
from harness.records import Environment, Plan
from harness.runner.digests import code_digest
from harness.runner.prepared import Prepared
from harness.sources.digest import file_digest
from harness.variants.prepare import is_engine

COMPUTES, BUILDS = ("numpy", "onnx"), ("polygraphy",)
"""Of the packages of an environment those that take part in computing outputs, and in building an engine."""


def engine(
    backend: Backend, prepared: Prepared, machine: Environment, folder: Path, *, find: bool, keep: bool
) -> Artefact:
    """The engine of a case, written to a folder: found, where that is allowed, or built and kept.

    Of a backend that builds nothing it is the file itself.
    """
    cache, key = prepared.cache, None
    if backend.recipe is not None:
        key = _engine_key(backend, prepared, machine)
        if find and (found := cache.find("engines", key)):
            return _found(cache, found, folder)
    built = _built(backend, prepared, machine, folder)
    if key is None or not keep or built.digest is None:
        return built
    about = {"measures": built.measures, "attested": built.attested, "built": _now()}
    try:
        kept = cache.keep("engines", key, built.path, about, replace=not find)
    except OSError as error:
        cache.say(f"{cache.folder}: the engine cannot be kept: {error.strerror}")
        return built
    # where another process was first all go on with its engine
    return built if kept.digest == built.digest else _found(cache, kept, folder)


def _found(cache: Cache, found: Kept, folder: Path) -> Artefact:
    place = folder / found.digest
    shutil.rmtree(place, ignore_errors=True)
    path = artefacts.take(cache.folder, found.digest, place)
    attested = {**found.about["attested"], "cache": f"engine built {found.about['built']}"}
    return Artefact(path, found.digest, found.about["measures"], attested)


def _built(backend: Backend, prepared: Prepared, machine: Environment, folder: Path) -> Artefact:
    cache, timed = prepared.cache, folder / TIMING_CACHE
    key: dict[str, Any] = {}
    if wanted := bool(prepared.spec.options.get("timing_cache")):
        key = {**_runtime(backend, machine), **_gpu(machine)}
        if found := cache.find("timing", key):
            timed.write_bytes((found.path / TIMING_CACHE).read_bytes())
    start = perf_counter()
    built = backend.build(prepared.spec, folder)
    if built.digest:
        built = replace(built, measures={**built.measures, "build_s": perf_counter() - start})
    if wanted and timed.exists():
        place = folder / "timing"
        place.mkdir(exist_ok=True)
        timed.replace(place / TIMING_CACHE)
        try:
            cache.keep("timing", key, place, {}, replace=True)
        except OSError as error:
            cache.say(f"{cache.folder}: the timing cache cannot be kept: {error.strerror}")
    return built


def own_engine(backend: Backend, prepared: Prepared) -> Artefact | None:
    """The suite's own engine file, where it names one; InputError unless somebody vouches for it."""
    variant = prepared.variant
    if not is_engine(variant.path):
        return None
    if backend.recipe is None:
        raise Unsupported(f"{variant.path.name} is an engine, which only tensorrt and tensorrt-rtx load")
    if variant.digest not in prepared.trusted and not prepared.cache.vouches(variant.digest):
        raise InputError(
            f"{variant.path}: an engine file can run code of whoever made it: this one was not built by this user's "
            "harness and stands in no accepted baseline; if you trust it, run again with --trust-engine and its path"
        )
    size = {"engine_bytes": float(variant.path.stat().st_size)}
    return Artefact(variant.path, variant.digest, size, {"requested": prepared.spec.precision})


def outputs(kind: str, key: Mapping[str, Any] | None, cache: Cache, folder: Path, make: Callable[[], bool]) -> None:
    """A folder of tensors: found under the key, or made; `make` tells whether another time would give the same."""
    shutil.rmtree(folder, ignore_errors=True)  # what an earlier attempt left may be another name of what is kept
    if key is not None and (found := cache.find(kind, key)):
        artefacts.take(cache.folder, found.digest, folder)
        return
    if make() and key is not None:
        try:
            cache.keep(kind, key, folder, {})
        except OSError as error:
            cache.say(f"{cache.folder}: {kind} cannot be kept: {error.strerror}")


def outputs_key(backend: Backend, plan: Plan, prepared: Prepared, machine: Environment, **more: Any) -> dict[str, Any]:
    """Everything that decides on what a backend computes for a case, and how the harness looks at it."""
    libraries = [file_digest(Path(library)) for library in prepared.spec.options.get("custom_ops", ())]
    return {
        **_case(prepared),
        **_runtime(backend, machine, COMPUTES),
        **(_gpu(machine) if backend.device == "cuda" else {}),
        "harness": _code(),
        "cpu": machine.cpu,
        "cpus": len(os.sched_getaffinity(0)),
        "inputs": prepared.feeds.digest,
        "drawn": encode(({name: replace(one, file=None) for name, one in plan.inputs.items()}, plan.dimensions)),
        "fuzzed": plan.fuzzed,
        "flip": plan.flip and plan.flip.axes,
        "custom_ops": libraries,
        **encode(more),
    }


@cache
def _code() -> str:
    return code_digest()


def _engine_key(backend: Backend, prepared: Prepared, machine: Environment) -> dict[str, Any]:
    return {**_case(prepared), **_runtime(backend, machine), **_gpu(machine)}


def _case(prepared: Prepared) -> dict[str, Any]:
    spec = prepared.spec
    return {
        "model": prepared.variant.digest,
        "precision": spec.precision,
        "typed": spec.typed,
        "profile": encode(spec.profile),
        "options": encode({name: value for name, value in spec.options.items() if name != "custom_ops"}),
    }


def _runtime(backend: Backend, machine: Environment, libraries: Sequence[str] = BUILDS) -> dict[str, Any]:
    versions = {name: machine.versions[name] for name in libraries if name in machine.versions}
    return {
        "backend": type(backend).__name__,
        "recipe": backend.recipe,
        "versions": {**versions, **backend.versions()},
        "tf32": os.environ.get("NVIDIA_TF32_OVERRIDE"),  # NVIDIA's libraries read it wherever they multiply
    }


def _gpu(machine: Environment) -> dict[str, Any]:
    """The GPU in use and the branch of its driver, the first part of its version."""
    if not machine.gpus:
        return {"gpu": None}
    gpu = machine.gpus[0]
    return {
        "gpu": gpu.name,
        "compute_capability": gpu.compute_capability,
        "memory_mib": gpu.memory_mib,
        "driver": gpu.driver.split(".")[0],
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
