"""What was built and may be timed again later: engines and variant files, kept by their digest."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from harness.errors import InputError

ONNX_NAME, ENGINE_NAME = "model.onnx", "model.engine"


def keep(folder: Path, file: Path, digest: str) -> None:
    """Copy an engine, or an ONNX file with its weight files, to its place under `folder` unless it is there.

    `folder` is the one of `--artefacts`. Raises OSError when the disk does not take it.
    """
    from harness.sources.inspect import external_files  # brings onnx, which the parent does not load

    place = _place(folder, digest)
    if place.exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    engine = file.suffix != ".onnx"
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".") as made:
        whole = Path(made) / digest
        whole.mkdir()
        shutil.copyfile(file, whole / (ENGINE_NAME if engine else ONNX_NAME))
        for beside in () if engine else external_files(file):
            target = whole / beside.relative_to(file.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(beside, target)
        try:
            os.rename(whole, place)  # noqa: PTH104 - atomic, and fails where another process was first
        except OSError:
            if not place.exists():
                raise


def has(folder: Path, digest: str) -> bool:
    """Whether something is kept under the digest; only `find` looks whether it is still what it was."""
    return _place(folder, digest).is_dir()


def find(folder: Path, digest: str) -> Path:
    """The kept file; InputError when it was never kept here, or is not what it was and then removed."""
    place = _place(folder, digest)
    engine, model = place / ENGINE_NAME, place / ONNX_NAME
    try:
        file = engine if engine.exists() else model
        if file.exists() and _digest(file) == digest:
            return file
    except InputError:  # a weight file is gone
        pass
    shutil.rmtree(place, ignore_errors=True)
    raise InputError(
        f"{place}: the accepted artefact is not here, or is not what was accepted: it cannot be timed again"
    )


def _digest(file: Path) -> str:
    from harness.sources.digest import file_digest, model_digest

    return file_digest(file) if file.name == ENGINE_NAME else model_digest(file)


def _place(folder: Path, digest: str) -> Path:
    return folder / "artefacts" / digest
