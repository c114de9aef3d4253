"""A lock per device: timing holds it alone, other work shares it."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.errors import CaseError

LOCKS = "TRT_HARNESS_LOCKS"
"""The environment variable that names another folder for locks."""
CURE = "set TRT_HARNESS_LOCKS to a folder of yours"


def lock_folder() -> Path:
    """Where the locks of this user's processes live; TRT_HARNESS_LOCKS names another folder, for containers."""
    default = Path(tempfile.gettempdir()) / f"trt-harness-{os.getuid()}"
    named = os.environ.get(LOCKS)
    folder = Path(named or default)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = folder.lstat().st_uid
    except OSError as error:
        raise CaseError(f"{folder}: no place for locks: {error.strerror}; set TRT_HARNESS_LOCKS") from error
    if not named and owner != os.getuid():  # anybody can make a folder of that name
        raise CaseError(f"{folder}: belongs to another user: {CURE}")
    return folder


@contextmanager
def device_locks(gpu: str | None, *, alone: bool) -> Iterator[None]:
    """Hold the CPU's lock, and that of a GPU by its UUID; the kernel frees them when the process dies.

    `alone` is for timing: work on a GPU shares the CPU with others, work on the CPU shares it with nobody.
    The CPU's lock always comes first, so no two processes wait for each other.
    """
    with ExitStack() as held:
        held.enter_context(_lock("cpu", alone=alone and gpu is None))
        if gpu is not None:
            held.enter_context(_lock(gpu, alone=alone))
        yield


@contextmanager
def _lock(device: str, *, alone: bool) -> Iterator[None]:
    path = lock_folder() / f"{device}.lock"
    with ExitStack() as opened:
        try:
            file = opened.enter_context(path.open("a"))
            with path.with_suffix(".turn").open("a") as turn:  # whoever waits to be alone is not overtaken for ever
                fcntl.flock(turn, fcntl.LOCK_EX)
                fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        except OSError as error:
            cure = "close some, or raise `ulimit -n`" if error.errno in (errno.EMFILE, errno.ENFILE) else CURE
            raise CaseError(f"{path}: cannot be locked: {error.strerror}; {cure}") from error
        yield
