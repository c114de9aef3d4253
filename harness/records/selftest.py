"""What the gate does on unchanged and on slowed code, counted on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Injection:
    """How a candidate is slowed on purpose."""

    kind: str
    """"slow": every iteration; "tail": a share of them, which take `factor` medians."""
    share: float
    """Of the median that is added; of the iterations that are slow."""
    factor: float = 2.0


@dataclass(frozen=True)
class Arm:
    """Decisions of the gate on one injection; `regressed` are false alarms where nothing was injected."""

    name: str
    injected: Injection | None
    decisions: int
    regressed: int
    passed: int
    """Improved ones among them."""
    inconclusive: int
    launches: int
    """That the decisions took together."""


@dataclass(frozen=True)
class SelfTest:
    """The gate's own false alarms and power on a machine class."""

    fingerprint: str
    finished: str
    versions: Mapping[str, str]
    cases: tuple[str, ...]
    advisory: tuple[str, ...]
    """Cases that repeat too badly for their limit; they are in no arm."""
    launches: int
    """Of each case and arm."""
    arms: tuple[Arm, ...]
    seconds: float
    left_out: Mapping[str, str]
    """Cases that could not be timed, and why."""
