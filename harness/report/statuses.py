"""The statuses as people see them: glyph, tone and meaning, in one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from harness.records import BLOCKING, STATUSES, Record


@dataclass(frozen=True)
class Status:
    """How one status is shown; `tone` is "bad", "warn", "good" or "idle" and names a colour in the style sheet."""

    name: str
    glyph: str
    tone: str
    meaning: str

    @property
    def blocks(self) -> bool:
        """Whether the gate fails on it."""
        return self.name in BLOCKING

    @property
    def rank(self) -> int:
        """Place in the order that people should read in: what blocks comes first."""
        return STATUSES.index(self.name)


STATUS = {
    status.name: status
    for status in (
        Status("error", "!", "bad", "could not be measured"),
        Status("failed", "✗", "bad", "accuracy, attestation or a budget does not hold"),
        Status("regressed", "▲", "bad", "slower or bigger than the baseline by the rule"),
        Status("missing", "∅", "bad", "has a baseline and was not run"),
        Status("inconclusive", "?", "warn", "the evidence does not decide"),
        Status("new", "+", "warn", "no baseline yet"),
        Status("improved", "▼", "good", "faster or smaller than the baseline by the rule"),
        Status("passed", "✓", "good", "every check holds"),
        Status("acknowledged", "≈", "warn", "fails, and the reviewed file accepts it until a date"),
        Status("skipped", "○", "idle", "not run, with the reason"),
    )
}
CHANGED = ("inconclusive", "new", "improved", "acknowledged")
"""Statuses that do not block and that a reader wants to hear of all the same."""


def counted(records: Iterable[Record]) -> list[tuple[Status, int]]:
    """Every status that occurs with its number of cases, in reading order."""
    counts = Counter(record.status for record in records)
    return [(STATUS[name], counts[name]) for name in STATUSES if counts[name]]
