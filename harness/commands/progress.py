"""How far a run is, from what it tells as it goes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import median
from time import monotonic


class Progress:
    """Cases that ended, and the time that the others are expected to take."""

    def __init__(self, cases: Sequence[str], known: Collection[str], seconds: Mapping[str, float], jobs: int) -> None:
        """`known` were measured before; `seconds` are what cases took when they were accepted, by their ids."""
        self._seconds, self._jobs = seconds, jobs
        self._usual = median(seconds.values()) if seconds else None
        self._left = dict.fromkeys(case for case in cases if case not in known)
        self.total = len(cases)
        self._undecided: set[str] = set()
        self._start = monotonic()
        self._expected_s = self._expected()

    def ended(self, case: str, *, decided: bool) -> None:
        """A case was measured, or is decided."""
        (self._undecided.discard if decided else self._undecided.add)(case)
        if case in self._left:
            del self._left[case]
            self._expected_s = self._expected()

    @property
    def done(self) -> int:
        """Cases that are measured."""
        return self.total - len(self._left)

    def words(self) -> str:
        """Where the run is, in one line."""
        again = f", {len(self._undecided)} wait for their decision" if self._undecided else ""
        expected = "" if self._expected_s is None or not self._left else f" of about {clock(self._expected_s)}"
        return f"{self.done} of {self.total} cases{again}, {clock(monotonic() - self._start)}{expected}"

    def _expected(self) -> float | None:
        """Seconds from the start to the last case; a case that nobody knows takes as long as others do."""
        if self._usual is None:
            return None
        left_s = sum(self._seconds.get(case, self._usual) for case in self._left)
        return monotonic() - self._start + left_s / self._jobs


def clock(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
