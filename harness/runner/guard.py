"""What keeps a worker and its children from outliving who asked for them; runs in the worker, before anything else.

The kernel kills the worker with the thread that started it. Its children would live on, and a worker whose starter
hands it on would not die at all: so a guard, a process of its own, waits for the end of either.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
from contextlib import suppress

from harness.runner.processes import EXIT_S, MARK, end_marked

PR_SET_PDEATHSIG = 1
_LOOK_S = 0.2


def bind_to_parent() -> int:
    """Let this process end with its parent, and its children with it; the process id of the guard."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    worker = os.getpid()
    guard = os.fork()
    if guard:
        return guard
    try:
        _watch(worker)
        end_marked(os.environ.get(MARK, ""))
        if os.getpgrp() == worker:
            os.killpg(0, signal.SIGKILL)  # this process too
    finally:
        os._exit(0)


def dismiss(guard: int) -> None:
    """The worker ends by itself, and what it started with it: its guard need not see it.

    In this order: whoever asked for the worker may have been killed, and the kernel kills the worker any moment.
    """
    end_marked(os.environ.get(MARK, ""), (guard,))
    with suppress(OSError):
        os.kill(guard, signal.SIGKILL)
        os.waitpid(guard, 0)


def _watch(worker: int) -> None:
    """Return when the worker has ended, or when it did not although nobody can ask it for anything any more."""
    for descriptor in (1, 2):  # the channel and the log are closed when the worker is gone
        os.close(descriptor)
    poll = select.poll()
    poll.register(0, 0)  # reports that no process can write to it any more, and nothing else
    ends = _end_of(worker)
    if ends is None:
        while os.getppid() == worker and not poll.poll(_LOOK_S * 1e3):
            pass
    else:
        poll.register(ends, select.POLLIN)
        poll.poll()
    _give_time(worker, ends)


def _give_time(worker: int, ends: int | None) -> None:
    """Wait until the worker has ended by itself, at most so long as it may take."""
    if ends is not None:
        last = select.poll()
        last.register(ends, select.POLLIN)
        last.poll(EXIT_S * 1e3)
        return
    for _ in range(int(EXIT_S / _LOOK_S)):
        if os.getppid() != worker:
            return
        select.poll().poll(_LOOK_S * 1e3)


def _end_of(pid: int) -> int | None:
    """A descriptor that is readable when the process has ended; None where the kernel has none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
