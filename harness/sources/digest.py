"""SHA-256 of files and models; a file is hashed again only when its size or time of change is another."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from harness.sources.inspect import external_files, identity


def file_digest(file: Path) -> str:
    """SHA-256 of a file in hexadecimal, as sha256sum prints it; InputError when it cannot be read."""
    return _hash(*identity(file))


def model_digest(model: Path) -> str:
    """SHA-256 of an ONNX file, or of it and its weight files together where it has such; InputError as above."""
    beside = external_files(model)
    if not beside:
        return file_digest(model)
    lines = [file_digest(model), *(f"{file_digest(file)} {file.relative_to(model.parent)}" for file in beside)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@lru_cache(maxsize=1024)
def _hash(path: str, size: int, mtime_ns: int) -> str:
    del size, mtime_ns  # only part of the memo's key
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
