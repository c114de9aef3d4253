"""Ctrl-C: once, a run stops cleanly with what was measured; twice, it ends at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from harness.judge.gate import EXIT_INTERRUPTED


@contextmanager
def interruptible(leave: Callable[[int], object] = os._exit) -> Iterator[None]:
    """While this holds, the first SIGINT, SIGTERM or SIGHUP is a KeyboardInterrupt; one more SIGINT ends the process.

    SIGTERM, which CI sends to a cancelled job, and SIGHUP of a terminal that is closed keep what was measured as Ctrl-C
    does. Workers end with the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def interrupt(number: int, _: object) -> None:
        if seen:
            if number == signal.SIGINT:
                leave(EXIT_INTERRUPTED)
            return  # of a job that is cancelled already
        seen.append(number)
        with suppress(OSError):  # the terminal may be what is gone
            print("harness: interrupted, writing what was measured; Ctrl-C once more ends it at once", file=sys.stderr)
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    taken = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
