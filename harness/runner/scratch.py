"""Folders for what a run needs while it runs; those of runs that were killed are removed by later ones."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "trt-harness-run-"
_LOCK = "in-use"


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder of one's own, removed at the end; it is locked while it is in use, also for those who share the disk."""
    place = Path(tempfile.gettempdir())
    _remove_left(place)
    made = Path(tempfile.mkdtemp(prefix=".trt-harness-", dir=place))
    with (made / _LOCK).open("w") as lock:
        with suppress(OSError):  # a disk without locks, where nobody can tell what was left either
            fcntl.flock(lock, fcntl.LOCK_EX)
        folder = made.rename(place / made.name.replace(".trt-harness-", PREFIX))  # not seen before it is locked
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_left(place: Path) -> None:
    """Remove what this user's runs left that could not do so themselves."""
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):  # it is in use, or another user's
            if folder.lstat().st_uid != os.getuid() or folder.is_symlink():
                continue
            with (folder / _LOCK).open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
