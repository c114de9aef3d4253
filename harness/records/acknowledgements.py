"""What the reviewed file accepts until a date: cases that are known to block."""

from __future__ import annotations

from dataclasses import dataclass

ACKNOWLEDGED_FILE = "acknowledged.yaml"
LONGEST_DAYS = 366
"""From `since` to `until`: what nobody looks at for longer is no exception any more."""


@dataclass(frozen=True)
class KnownFailure:
    """One entry of the reviewed file; dates as YYYY-MM-DD."""

    case: str
    status: str
    """The blocking status that is accepted; any other blocks as ever."""
    reason: str
    issue: str
    """Where its repair is followed."""
    since: str
    until: str
    """The last day on which runs may start."""
    by: str = ""
    machine: str = ""
    """The machine class that it holds on; empty for all."""
    kind: str = ""
    """Of an error, the kind that is accepted."""
    checks: tuple[str, ...] = ()
    """Of a failed case, the checks that may fail."""
    up_to: float | None = None
    """Of a regressed case, the largest relative slowdown; None for any."""
    place: str = ""
    """File and line."""


@dataclass(frozen=True)
class Acknowledgement:
    """What the reviewed file says about a case that blocks, and the case as it was judged."""

    known: KnownFailure
    status: str
    headline: str
    refused: str = ""
    """Why the case blocks all the same; empty where it does not."""


@dataclass(frozen=True)
class Stale:
    """An entry that is of no use any more, and why."""

    known: KnownFailure
    words: str
