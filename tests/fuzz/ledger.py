"""How many mutants were tried of each kind, and how each ended; one that hangs or takes memory fails its test."""

from __future__ import annotations

import os
import random
import resource
import signal
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

TIMES = int(os.environ.get("TRT_HARNESS_FUZZ", "1"))
"""A longer run tries that many times as many mutants."""
LONGEST_S = 20.0
"""No mutant may take longer; the slowest take a part of a second, also on a busy machine."""
MOST_MIB = 1500
"""What memory of this process may grow by while mutants of one kind are tried."""
CLEAR, VALID = "clear error", "valid"

tried: dict[str, Counter[str]] = defaultdict(Counter)


def mutants(kind: str, count: int) -> Iterator[tuple[str, random.Random]]:
    """Name and source of randomness of every mutant of a kind; `TRT_HARNESS_FUZZ_ONLY=kind/number` is one alone."""
    only = os.environ.get("TRT_HARNESS_FUZZ_ONLY")
    before = _peak_mib()
    for number in range(count * TIMES):
        name = f"{kind}/{number}"
        if only in (None, name):
            with _limited(name):
                yield name, random.Random(name)
    assert _peak_mib() - before < MOST_MIB, f"{kind}: a mutant took memory"


def refused(kind: str, error: Exception, words: str, name: str) -> None:
    """Count a clear error: one that says what it is about."""
    assert words in str(error), (name, str(error))
    ended(kind, CLEAR)


def ended(kind: str, how: str) -> None:
    """Count one."""
    tried[kind][how] += 1


def lines() -> list[str]:
    """The table."""
    found = [
        f"{kind:12s} {sum(counts.values()):7d}  {', '.join(f'{n} {how}' for how, n in sorted(counts.items()))}"
        for kind, counts in sorted(tried.items())
    ]
    return [*found, f"{'all':12s} {sum(sum(counts.values()) for counts in tried.values()):7d}"]


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def _limited(name: str) -> Iterator[None]:
    def hangs(*_: object) -> None:
        raise AssertionError(f"{name} takes longer than {LONGEST_S:g} s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
