"""What is measured when two artefacts are timed in turns, inside fresh processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Evidence:
    """What the machine did while something was timed; None where the machine does not tell."""

    cpu_share: float | None = None
    """CPU time over wall time of the thread that timed host work; below 1 it was kept waiting."""
    load: float | None = None
    """Processes that wanted a CPU, averaged over a minute."""
    sm_mhz: tuple[float, float] | None = None
    """Lowest and highest clock of the GPU's multiprocessors."""
    memory_mhz: tuple[float, float] | None = None
    temperature_c: float | None = None
    """Highest."""
    power_w: float | None = None
    """Highest."""
    throttled: tuple[str, ...] = ()
    """Reasons for lower clocks, in NVML's words."""
    foreign: tuple[str, ...] = ()
    """Other processes that used the GPU."""
    untold: tuple[str, ...] = ()
    """What could not be found out, and why."""


@dataclass(frozen=True)
class Contestant:
    """One side of a duel: an artefact kept under its digest, and the options that its session is opened with."""

    digest: str
    options: Mapping[str, Any]
    reviewed: bool = field(default=False, compare=False)
    """The digest stands in an accepted baseline: an engine is loaded whoever built it."""


@dataclass(frozen=True)
class Launch:
    """One fresh process in which the accepted artefact (a) and the candidate (b) were timed in turns."""

    log_ratio: float
    """Median over pairs of blocks of ln(median of b's block / median of a's block)."""
    tail: float
    """Share of b's iterations above 1.5 times the median of a's, less the same share of a's."""
    a_p50_ms: float
    b_p50_ms: float
    pairs: int
    samples: int
    """Timed iterations of each side, without the first of each block."""
    first: str
    """"a" or "b": the side whose session was made first."""
    redone: Mapping[str, int] = field(default_factory=dict)
    """Why pairs were measured again, and how many."""
    spoiled: str | None = None
    """Why this launch is no evidence, where it is none."""
    evidence: Evidence = Evidence()


@dataclass(frozen=True)
class Duel:
    """The launches in which one case was timed against its accepted artefact."""

    launches: tuple[Launch, ...]
    decided_on: str
    """"gpu" or "host": the clock."""
    settings: Mapping[str, Any]
    against: str
    """The side a in words: an artefact's digest, or the same case in another environment."""
    failures: tuple[str, ...] = ()
    """Launches that gave nothing, in the words of what stopped them."""
    a: Contestant | None = None
    """What was accepted, and what was timed against it; None where the sides are of two environments."""
    b: Contestant | None = None


@dataclass(frozen=True)
class Admission:
    """What launches of a case against itself tell about the changes that can be seen on this machine class."""

    sd: float
    """Standard deviation of the launches' log ratios."""
    launches: int
    mde: float
    """Smallest relative slowdown that is found in 95 of 100 decisions."""
