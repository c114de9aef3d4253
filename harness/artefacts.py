"""What was built and may be timed again later: engines and variant files, kept by their digest."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from harness.errors import InputError

ONNX_NAME, ENGINE_NAME = "model.onnx", "model.engine"
UNUSED_S = 14 * 86400.0
"""What no baseline names is kept for that long after its last use."""
STALE_S = 86400.0
"""Nothing is half-made for that long by a process that still runs."""


def keep(folder: Path, file: Path, digest: str) -> None:
    """Copy an engine, or an ONNX file with its weight files, to its place under `folder` unless it is there.

    `folder` is the one of `--artefacts`. Raises OSError when the disk does not take it.
    """
    from harness.sources.inspect import external_files  # brings onnx, which the parent does not load

    place = _place(folder, digest)
    if place.exists():
        return _touch(place)
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
            _touch(place)
            return file
    except InputError:  # a weight file is gone
        pass
    shutil.rmtree(place, ignore_errors=True)
    raise InputError(
        f"{place}: the accepted artefact is not here, or is not what was accepted: it cannot be timed again"
    )


def clean(folder: Path, named: Collection[str], now: float) -> list[str]:
    """Remove what is not among `named` and was not used for `UNUSED_S`, and what was left half-made; gives the digests.

    `now` is in seconds since the epoch. What is in use was touched when it was found, so it stays; what cannot be
    removed stays too.
    """
    found = []
    for place in sorted(_place(folder, "").glob("*")):
        half_made = place.name.startswith(".")
        limit_s = STALE_S if half_made else UNUSED_S
        if place.name in named or not _is_older(place, now - limit_s):
            continue
        gone = place if half_made else place.with_name(f".gone-{os.getpid()}-{place.name}")
        with suppress(OSError):
            place.rename(gone)  # whole or not at all, for whoever looks
            if not _is_older(gone, now - limit_s):  # it was found in this very moment
                gone.rename(place)
                continue
            found += [] if half_made else [place.name]
        shutil.rmtree(gone, ignore_errors=True)
    return found


def _is_older(place: Path, moment: float) -> bool:
    try:
        return place.stat().st_mtime < moment
    except OSError:  # somebody else removed it
        return False


def _touch(place: Path) -> None:
    """Note that it is used; a folder that cannot be written to is not cleaned either."""
    with suppress(OSError):
        os.utime(place)


def _digest(file: Path) -> str:
    from harness.sources.digest import file_digest, model_digest

    return file_digest(file) if file.name == ENGINE_NAME else model_digest(file)


def _place(folder: Path, digest: str) -> Path:
    return folder / "artefacts" / digest
