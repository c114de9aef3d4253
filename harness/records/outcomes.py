"""What was measured: a worker turns a plan into an `Outcome`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.records.fusion import Fusion
from harness.records.profiles import Profile
from harness.records.serving import Trial


@dataclass(frozen=True)
class Measurement:
    """One measured number about one output."""

    output: str | None
    metric: str
    value: float | None
    """None where the number is not finite or could not be computed; that never passes."""
    settings: Mapping[str, float | str] = field(default_factory=dict)
    detail: str = ""


@dataclass(frozen=True)
class Element:
    """One element of an output, numbers as text: JSON has no NaN, and no 64-bit integers everywhere."""

    batch: int
    """The batch that holds it, counted from 0."""
    place: tuple[int, ...]
    expected: str
    found: str
    error: float | None
    """|found - expected|; None where there is no such number: NaN, infinities, labels."""


_POWER = re.compile(r"-?[0-9]{1,4}")


@dataclass(frozen=True)
class Deviations:
    """How far the elements of one output are from the reference."""

    output: str
    size: int
    equal: int
    """Elements equal in both; NaN equals NaN."""
    counts: Mapping[str, int]
    """Power of two p to the number of elements with 2^p <= error < 2^(p + 1); NaN, infinities and labels have none."""
    worst: tuple[Element, ...]
    """The largest errors, the largest first."""

    @property
    def largest(self) -> float:
        """The largest error; infinite where an element has none that is a number."""
        return max((math.inf if one.error is None else one.error for one in self.worst), default=0.0)

    @property
    def sound(self) -> bool:
        """Whether the counts are of errors that a number can have, and of no more elements than there are."""
        told = self.equal + sum(self.counts.values())
        return 0 <= self.equal <= told <= self.size and all(
            _POWER.fullmatch(power) and -1100 < int(power) < 1100 and count > 0 for power, count in self.counts.items()
        )


WAITING = "the GPU waits for the host"
"""Begins the note on a case whose time is that of the enqueueing."""

PERCENTILES: Mapping[str, float] = {"p90_ms": 0.90, "p99_ms": 0.99}
"""Quantities of a latency whose limits need many samples."""


@dataclass(frozen=True)
class Spread:
    """How far the samples of a latency lie apart."""

    min_ms: float
    max_ms: float
    sd_ms: float
    """Standard deviation of the samples."""
    q1_ms: float
    q3_ms: float
    low_ms: float
    high_ms: float
    """Smallest and largest sample within 1.5 interquartile ranges of the quartiles (Tukey's fences)."""
    beyond_fences: int
    beyond_sd: int
    """Samples outside of the fences, and further than one standard deviation from the mean."""


@dataclass(frozen=True)
class Quantiles:
    """A latency distribution in milliseconds; the interval is the 95 % one of the median."""

    p50_ms: float
    p90_ms: float | None
    p99_ms: float | None
    """None where another tool measured, and kept no samples."""
    mean_ms: float
    ci95_ms: tuple[float, float]
    samples: int
    p10_ms: float | None = None
    """What slow moments of the machine do not reach; None in runs that are older than its recording."""
    spread: Spread | None = None
    """None in runs that are older than its recording, and in baselines, which do without it."""

    @property
    def sound(self) -> bool:
        """Whether its times are such as can be measured."""
        found = (self.p10_ms, self.p50_ms, self.p90_ms, self.p99_ms, self.mean_ms, *self.ci95_ms)
        return all(0 <= ms < math.inf for ms in found if ms is not None)


@dataclass(frozen=True)
class Latency:
    """What one timing window measured; `decided_on` names the clock that the gate uses."""

    host: Quantiles
    gpu: Quantiles | None
    decided_on: str
    settings: Mapping[str, Any]
    baseline_digest: str | None = None
    canary_ms: float | None = None
    """The p10 of fixed work of the same device, which no change can touch, in the same process."""


@dataclass(frozen=True)
class Failure:
    """Why a case could not be measured."""

    kind: str
    stage: str
    message: str
    log: str = ""


@dataclass(frozen=True)
class Digests:
    """SHA-256 of what was used, in hexadecimal."""

    model: str | None = None
    variant: str | None = None
    engine: str | None = None
    inputs: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What was measured for one case; nothing is judged yet."""

    measurements: tuple[Measurement, ...] = ()
    latency: Latency | None = None
    measures: Mapping[str, float | None] = field(default_factory=dict)
    stages: Mapping[str, float] = field(default_factory=dict)
    attested: Mapping[str, Any] = field(default_factory=dict)
    digests: Digests = Digests()
    notes: tuple[str, ...] = ()
    error: Failure | None = None
    skipped: str | None = None
    attempts: int = 1
    earlier: tuple[Failure, ...] = ()
    """How the attempts before the last one failed."""
    profile: Profile | None = None
    """Where the time went; None where nobody asked."""
    fusion: Fusion | None = None
    """Which nodes of the file became which layer; None where the runtime does not tell."""
    deviations: tuple[Deviations, ...] = ()
    """Of every output whose elements could be compared."""
    trials: tuple[Trial, ...] = ()
    """Under load, in the order in which they were made."""
