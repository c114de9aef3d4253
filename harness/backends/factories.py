"""Code that makes models: what the command line allows is found and run, as far as that is the same for all."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, invalidate_caches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from harness.allowed import permits, permits_name
from harness.errors import InputError
from harness.records import Source

SEED = 0
"""Factories that draw their weights draw the same ones in every process."""
BY_NAME = frozenset({"torch", "tensorflow"})
"""Kinds of sources that name a factory; the others are files."""
SAME = "a factory must make the same weights whenever it is called"

_BESIDE: set[Path] = set()
"""The folder of the suite whose factory was called last, where it is on the path for it."""


def refuse(source: Source) -> None:
    """The suite was checked where it was read; what is run is asked for once more where it runs."""
    if not (permits_name(source.path) if source.kind in BY_NAME else permits(source.path)):
        raise InputError(f"{source.path}: is code, which --allow-code does not name")


def named(path: str, beside: str | None) -> Any:
    """What `framework:package.module:factory` names; a module that is not installed is looked for beside the suite."""
    name, _, attribute = path.partition(":")[2].partition(":")
    top = name.partition(".")[0]
    folder = None if beside is None else Path(beside).parent
    _forget_others(folder)
    if folder is not None and top not in sys.modules and find_spec(top) is None:
        sys.path.append(str(folder))  # last: nothing there stands for what is installed
        _BESIDE.add(folder)
    try:
        found = import_module(name)
    except ImportError as error:
        where = "is neither installed nor beside the suite" if find_spec(top) is None else "cannot be imported"
        raise InputError(f"{path}: {name} {where} ({error}), with {sys.executable}") from error
    except (Exception, SystemExit) as error:
        words = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: {name} cannot be imported: {words}, with {sys.executable}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise InputError(f"{path}: {name} has no '{part}'")
        found = getattr(found, part)
    return found


def called(factory: Any, path: str) -> Any:
    """What a factory makes; InputError where it fails."""
    try:
        return factory()
    except (Exception, SystemExit) as error:
        raise InputError(f"{path}: the factory failed: {type(error).__name__}: {error}") from error


@contextmanager
def seeded() -> Iterator[None]:
    """The same random numbers of Python and NumPy whenever this begins; others draw as if nothing had been."""
    state, legacy = random.getstate(), np.random.get_state()
    random.seed(SEED)
    np.random.seed(SEED)
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(legacy)


def _forget_others(folder: Path | None) -> None:
    """Forget modules beside other suites: those of the same names beside this one are others."""
    for other in _BESIDE - {folder}:
        sys.path.remove(str(other))
        tops = {label for label, one in list(sys.modules.items()) if "." not in label and _lies_in(one, other)}
        for label in [label for label in sys.modules if label.partition(".")[0] in tops]:
            del sys.modules[label]
        _BESIDE.remove(other)
    invalidate_caches()


def _lies_in(module: Any, folder: Path) -> bool:
    places = (*(getattr(module, "__path__", None) or ()), getattr(module, "__file__", None))
    return any(Path(place).parent == folder for place in places if place)
