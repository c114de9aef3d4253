"""How a run is told: plain lines in CI and pipes; on a terminal with colours, and meanwhile what goes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.progress import Progress
from harness.commands.results import line, summary_line, tell
from harness.foreign import bare, plain
from harness.judge import first_line
from harness.records import BLOCKING, Record, Run
from harness.report.format import seconds
from harness.report.statuses import STATUS
from harness.runner.client import At

if TYPE_CHECKING:
    from harness.commands.live import Screen

MOST_TOLD = 10
"""Blocking cases in a summary: it is to be read in ten seconds."""
MOST_WORDS = 160
SHOW_CURSOR = b"\x1b[?25h\n"


class Terminal:
    """Tells cases, notes and the end; without a terminal and without options, in the lines that CI logs have."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self._quiet, self._verbose = quiet, verbose
        self._screen = _screen()
        self._progress: Progress | None = None

    def case(self, status: str, case: str, words: str, record: Record | None = None) -> None:
        """One case as it ends; `record` where it is decided."""
        if self._progress is not None:
            self._progress.ended(case, decided=record is not None)
        if self._quiet or (self._screen and status == "skipped" and not self._verbose):
            return
        self._line(f"{status:12s} {case}  {words}", {status: _tone(status)})
        if self._verbose and record is not None:
            for text in _more(record):
                self._line(f"{'':12s} {text}", {})

    def record(self, record: Record) -> None:
        """One decided case of a run that is told as a whole."""
        self.case(record.status, record.case.id, first_line(record.headline), record)

    def note(self, text: str) -> None:
        """A line about the run."""
        if not self._quiet:
            self._line(text, {})

    @contextmanager
    def live(self, progress: Progress, under_way: Callable[[], Sequence[At]]) -> Iterator[None]:
        """Meanwhile a terminal shows how far the run is, and what its workers do."""
        if self._screen is None:
            yield
            return
        self._progress = progress
        try:
            with self._screen.live(progress, under_way):
                yield
        finally:
            self._progress = None

    def end(self, result: Run, report: Path) -> None:
        """What blocks, the counts and the gate; the report's path comes last."""
        if self._screen is None and not self._quiet:
            tell(f"\n{summary_line(result)}\nreport: {report}")
            return
        blocking = sorted((r for r in result.records if r.status in BLOCKING), key=lambda r: STATUS[r.status].rank)
        self._line("", {})
        for record in blocking[:MOST_TOLD]:
            text = line(record)
            text = text if len(text) <= MOST_WORDS else f"{text[: MOST_WORDS - 1]}…"
            self._line(text, {record.status: _tone(record.status)})
        if len(blocking) > MOST_TOLD:
            self._line(f"… and {len(blocking) - MOST_TOLD} more that block: the report has all", {})
        gate = {"gate passed": "good", "gate FAILED": "bad"}
        counts = {f"{count} {status}": _tone(status) for status, count in result.gate.counts.items()}
        self._line(summary_line(result), {**gate, **counts})
        self._line(f"report: {report}", {})

    def leave(self, status: int) -> None:
        """End the process at once, and leave a terminal as it was."""
        if self._progress is not None:
            with suppress(OSError):
                os.write(1, SHOW_CURSOR)
        os._exit(status)

    def _line(self, text: str, marks: Mapping[str, str]) -> None:
        """Print a line; the first place of each of the marks has its tone."""
        if self._screen is None:
            tell(text)
        else:
            self._screen.line(text, marks)


def _screen() -> Screen | None:
    """The terminal that standard output is, where it can be drawn on."""
    if sys.stdout is None or not sys.stdout.isatty() or os.environ.get("TERM") in (None, "", "dumb", "unknown"):
        return None
    from harness.commands.live import Screen

    return Screen(bare(sys.stdout))


def _tone(status: str) -> str:
    return STATUS[status].tone if status in STATUS else ""


def _more(record: Record) -> Iterator[str]:
    """What else there is to know about a case: what its stages took, and notes."""
    if record.stages:
        yield ", ".join(f"{name.removesuffix('_s')} {seconds(spent)}" for name, spent in record.stages.items())
    yield from (f"note: {plain(note)}" for note in record.notes)
