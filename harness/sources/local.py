"""Models that are already on this machine."""

from __future__ import annotations

import re
from pathlib import Path

from harness.errors import InputError, did_you_mean
from harness.records import Source
from harness.sources import Fetched
from harness.sources.digest import file_digest, model_digest


def file(source: Source, cache: Path) -> Fetched:  # noqa: ARG001 - every source takes the cache
    """The model at `source.path`; InputError when it is missing, not ONNX, or not the one with `source.sha256`."""
    return Fetched(model=_verified(Path(source.path), source.sha256), sha256=model_digest(Path(source.path)))


def folder(source: Source, cache: Path) -> Fetched:  # noqa: ARG001 - every source takes the cache
    """A folder in the ONNX test layout: `model.onnx` with its `test_data_set_*`; InputError as for a file."""
    root = Path(source.path)
    if not root.is_dir():
        raise InputError(f"{root}: is not a folder; give a folder that holds model.onnx")
    model = _verified(root / "model.onnx", source.sha256)
    return Fetched(model=model, sha256=model_digest(model), test_sets=_test_sets(root))


def _verified(model: Path, sha256: str | None) -> Path:
    if not model.is_file():
        names = [entry.name for entry in model.parent.glob("*.onnx")] if model.parent.is_dir() else []
        raise InputError(f"{model}: there is no such file{did_you_mean(model.name, names)}")
    if sha256 is not None and file_digest(model) != sha256.lower():
        raise InputError(
            f"{model}: its SHA-256 is {file_digest(model)}, the suite says {sha256.lower()}; "
            "fetch the right file, or correct the suite if the change is meant"
        )
    return model


def _test_sets(root: Path) -> tuple[Path, ...]:
    return tuple(sorted((entry for entry in root.glob("test_data_set_*") if entry.is_dir()), key=_number))


def _number(folder: Path) -> tuple[int, str]:
    # 10 comes after 9; names without a number come last
    match = re.search(r"_(\d+)$", folder.name)
    return (int(match[1]) if match else 2**63, folder.name)
