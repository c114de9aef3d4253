"""A lock per device: timing holds it alone, other work shares it."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
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
def device_locks(gpu: str | None, *, alone: bool, waits: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the CPU's lock, and that of a GPU by its UUID; the kernel frees them when the process dies.

    `alone` is for timing: work on a GPU shares the CPU with others, work on the CPU shares it with nobody.
    The CPU's lock always comes first, so no two processes wait for each other. `waits` is called where others have it.
    """
    with ExitStack() as held:
        held.enter_context(_lock("cpu", waits, alone=alone and gpu is None))
        if gpu is not None:
            held.enter_context(_lock(gpu, waits, alone=alone))
        yield


@contextmanager
def _lock(device: str, waits: Callable[[], None], *, alone: bool) -> Iterator[None]:
    path = f"{lock_folder()}/{device}"
    with ExitStack() as opened:
        try:
            lock = opened.enter_context(_opened(f"{path}.lock"))
            with _opened(f"{path}.turn") as turn:  # whoever waits to be alone is not overtaken for ever
                _take(turn, fcntl.LOCK_EX, waits)
                _take(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, waits)
        except OSError as error:
            cure = "close some, or raise `ulimit -n`" if error.errno in (errno.EMFILE, errno.ENFILE) else CURE
            raise CaseError(f"{path}.lock: cannot be locked: {error.strerror}; {cure}") from error
        yield


@contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _take(descriptor: int, how: int, waits: Callable[[], None]) -> None:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        waits()
        fcntl.flock(descriptor, how)
