"""Keeps the cache from growing without bound, and knows what accepted baselines name in it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import time

from harness import artefacts, baselines, cache
from harness.errors import HarnessError, UsageError
from harness.records.plans import ENGINE_SUFFIXES

SIZE = "TRT_HARNESS_CACHE_GIB"
"""The environment variable that says how much may be kept."""
DEFAULT_GIB = 20.0


def tidy(folder: Path, baseline_folders: Iterable[Path]) -> None:
    """Remove what no baseline in these folders names and that was long unused, or is too much (least recently used).

    Nothing is removed while a baseline cannot be read: what it names is not known.
    """
    try:
        named = reviewed(baseline_folders)
    except HarnessError:
        return
    artefacts.clean(folder, named, time(), size_gib() * 2**30)
    cache.clean(folder, time())


def size_gib() -> float:
    """How much may be kept; UsageError where the variable says nothing sensible."""
    text = os.environ.get(SIZE, "")
    try:
        found = float(text) if text else DEFAULT_GIB
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise UsageError(f"{SIZE}='{text}': give a number of GiB, as {SIZE}=20")
    return found


def reviewed(folders: Iterable[Path]) -> set[str]:
    """Digests of the artefacts in accepted baselines; UsageError where one is damaged."""
    named: set[str] = set()
    for folder in folders:
        for path in folder.glob("*/*.json"):
            for entry in baselines.read(folder, path.parent.name, path.stem).values():
                named |= {digest for digest in (entry.digests.engine, entry.digests.variant) if digest}
    return named


def trusted(files: Sequence[Path], named: Iterable[str] = (), folders: Iterable[Path] = ()) -> frozenset[str]:
    """Digests of engine files that may be loaded: those of `--trust-engine`, and those in accepted baselines.

    `named` are the files that suites name for precisions; without an engine among them baselines are not asked.
    """
    found = set()
    for file in files:
        if file.suffix not in ENGINE_SUFFIXES or not file.is_file():
            raise UsageError(
                f"--trust-engine {file}: is no engine file ({' or '.join(ENGINE_SUFFIXES)}); check the path"
            )
        found.add(artefacts.digest_of(file))
    engines = any(Path(name).suffix in ENGINE_SUFFIXES for name in named)
    return frozenset(found | (reviewed(folders) if engines else set()))
