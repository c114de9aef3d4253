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


def settle(folder: Path) -> None:
    """Wait until the names in a folder are on disk; some file systems do not know how."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
