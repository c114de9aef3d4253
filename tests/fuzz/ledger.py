"""How many mutants were tried of each kind, and how each ended; one that hangs or takes memory fails its test."""

from __future__ import annotations

import os
import random
import resource
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TIMES = float(os.environ.get("TRT_HARNESS_FUZZ", "1"))
"""A longer run tries that many times as many mutants."""
ONLY = os.environ.get("TRT_HARNESS_FUZZ_ONLY")
"""One mutant alone, by the name that its failure tells: kind/number."""
LONGEST_S = 20.0
"""No mutant may take longer; the slowest take a part of a second, also on a busy machine."""
MOST_MIB = 1500
"""What memory of this process may grow by while mutants of one kind are tried."""
MOST_FAILURES = 10
CLEAR, VALID = "clear error", "valid"

tried: dict[str, Counter[str]] = defaultdict(Counter)


def each(kind: str, count: int, one: Callable[[random.Random], str]) -> None:
    """Try so many mutants; `one` makes a mutant and says how it ended. Failures are told together, by name."""
    failures: list[Exception] = []
    before = _peak_mib()
    for number in range(round(count * TIMES)):
        name = f"{kind}/{number}"
        if ONLY not in (None, name):
            continue
        try:
            with _limited():
                tried[kind][one(random.Random(name))] += 1
        except Exception as failure:
            failure.add_note(f"TRT_HARNESS_FUZZ_ONLY={name}")
            failures.append(failure)
        if len(failures) == MOST_FAILURES:
            break
    if failures:
        raise ExceptionGroup(f"{len(failures)} mutants of kind {kind}", failures)
    assert _peak_mib() - before < MOST_MIB, f"{kind}: a mutant took memory"


def refused(error: Exception, words: str) -> str:
    """A clear error: one that says what it is about."""
    assert words in str(error), str(error)
    return CLEAR


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
def _limited() -> Iterator[None]:
    def hangs(*_: object) -> None:
        raise AssertionError(f"takes longer than {LONGEST_S:g} s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
