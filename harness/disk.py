"""Files that are whole after a power failure: the old ones or the new ones, and never nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def write(texts: Mapping[Path, str]) -> None:
    """Write or replace files, none before all of them are on disk; OSError, and nothing changed, where one is not."""
    temporary = {path: path.with_suffix(f".{os.getpid()}.tmp") for path in texts}
    try:
        for path, text in texts.items():
            with temporary[path].open("w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())  # else a power failure may leave the new name with nothing in it
        for path in texts:
            temporary[path].replace(path)
    except OSError:
        for left in temporary.values():
            with suppress(OSError):
                left.unlink(missing_ok=True)
        raise
    for folder in {path.parent for path in texts}:
        settle(folder)


def replace(path: Path, text: str, errors: str = "strict") -> None:
    """Write or replace one file, whole or not at all for whoever reads it; a power failure may lose what is new.

    `errors` is what becomes of lone surrogates. A temporary file of `tempfile` would stay unreadable for others.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(text.encode("utf-8", errors))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def settle(folder: Path) -> None:
    """Wait until the names in a folder are on disk; some file systems do not know how."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
