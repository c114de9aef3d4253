"""What every command that makes a run does with it: writes it, and tells it on the terminal."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from harness import report, store
from harness.judge import first_line
from harness.judge.drift import has_drifted
from harness.judge.gate import EXIT_INTERRUPTED, EXIT_MACHINE
from harness.records import Record, Run, SelfTest
from harness.runner.recorder import Judged

WHY = {
    EXIT_MACHINE: " - a crash, a time-out or the machine kept cases from a verdict",
    EXIT_INTERRUPTED: " - interrupted, other cases were not run",
}


def known(cache: Path, run: Run) -> SelfTest | None:
    """What the gate was last seen to do on the run's machine class."""
    classes = {environment.fingerprint for environment in run.environments.values()}
    return store.read_selftest(store.selftest_file(cache, classes.pop())) if len(classes) == 1 else None


def reviewed(result: Run, judged: Judged, *, whole: bool) -> Run:
    """The run with the files that it was judged by, and acknowledgements that are of no use any more."""
    files = judged.files([record.case for record in result.records if record.as_judged.status != "missing"])
    return replace(result, judged_by=files, stale=judged.stale(result.records, whole=whole))


def stale_lines(result: Run) -> list[str]:
    """Acknowledgements that are of no use any more, a line each."""
    return [f"note: {one.known.place}: {one.known.case} {one.words}" for one in result.stale]


def tell(text: str) -> None:
    """Print a line; that nobody reads any more, a terminal that is gone or a full disk is no reason to lose a run."""
    try:
        print(text, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write(result: Run, folder: Path) -> None:
    """`run.json` first: it is what everything else can be drawn from again."""
    store.write_run(result, folder)
    report.write(result, folder)


def line(record: Record) -> str:
    """One case in the terminal."""
    return f"{record.status:12s} {record.case.id}  {first_line(record.headline)}"


def summary_line(result: Run) -> str:
    """The counts and the gate in one line."""
    counts = ", ".join(f"{count} {status}" for status, count in result.gate.counts.items())
    verdict = "passed" if result.gate.passed else f"FAILED (exit {result.gate.exit_status})"
    drifted = sum(map(has_drifted, result.records))
    words = f"; accuracy drifted in {drifted}, inside its limits" if drifted else ""
    lapsed = sum(bool(one.acknowledgement and one.acknowledgement.refused) for one in result.records)
    words += f"; {lapsed} blocking although acknowledged: expired, or not covered" if lapsed else ""
    words += "".join(f"; of slower cases it decides nothing: {reason}" for reason in broken(result))
    return f"gate {verdict}{WHY.get(result.gate.exit_status, '')}: {counts or 'nothing was measured'}{words}"


def broken(result: Run) -> list[str]:
    """Why the job says nothing about cases that may be slower, where that is so."""
    asked = (record.screening for record in result.records)
    return sorted({one.broken for one in asked if one is not None and one.broken})
