"""A lock per device: timing holds it alone, other work shares it."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def lock_folder() -> Path:
    """Where the locks of this user's processes live; TRT_HARNESS_LOCKS names another folder, for containers."""
    default = Path(tempfile.gettempdir()) / f"trt-harness-{os.getuid()}"
    folder = Path(os.environ.get("TRT_HARNESS_LOCKS", default))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@contextmanager
def device_lock(device: str, *, alone: bool) -> Iterator[None]:
    """Hold the lock of a device ("cpu", or a GPU's UUID); the kernel frees it when the process dies."""
    with (lock_folder() / f"{device}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
