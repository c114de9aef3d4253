"""What is compared where the accepted artefact cannot be timed again: this run's times with those of earlier runs."""

from __future__ import annotations

from dataclasses import dataclass

from harness.records.outcomes import Latency


@dataclass(frozen=True)
class Screened:
    """One case timed in one fresh process."""

    value_ms: float
    """The quantile that the screen compares."""
    canary_ms: float | None
    """The same quantile of fixed work that the change cannot touch, timed in the same process."""


@dataclass(frozen=True)
class Screening:
    """One case against earlier runs of the same machine class."""

    quantile: str
    """"p10" or "p50": the same of all values."""
    history: tuple[Screened, ...]
    """The latest valid runs, oldest first."""
    now: tuple[Screened, ...]
    """This run's measurements, each from a fresh process."""
    decided_on: str
    """"gpu" or "host": the clock."""
    again: tuple[Latency, ...] = ()
    """The windows of `now` after the first, which is the record's: rules for few earlier runs take other quantiles."""
    failures: tuple[str, ...] = ()
    """Measurements that gave nothing, in the words of what stopped them."""
    broken: str | None = None
    """Why the job says nothing about this case, where it does not."""
