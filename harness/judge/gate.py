"""The decision on a whole run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from harness.records import BLOCKING, GATE_ERROR_KINDS, STATUSES, Gate, Record, Run

EXIT_PASSED, EXIT_FAILED, EXIT_USAGE, EXIT_MACHINE, EXIT_NAMED, EXIT_INTERRUPTED = 0, 1, 2, 3, 4, 130


def gate(records: Sequence[Record], fail_on: Sequence[str] = ()) -> Gate:
    """The decision on a run: exit status and counts, as the contract has them."""
    counts = Counter(record.status for record in records)
    ordered = {status: counts[status] for status in STATUSES if counts[status]}
    status = _exit_status(records, fail_on)
    return Gate(status == EXIT_PASSED, status, ordered)


def ended_early(run: Run) -> int | None:
    """The exit status of a run that did not come to its end: it was interrupted, or the machine failed before."""
    if run.cut is not None or run.lacking:
        return run.cut
    status = run.gate.exit_status  # of a run that does not tell it otherwise
    early = status == EXIT_INTERRUPTED or (status == EXIT_MACHINE and gate(run.records).exit_status != EXIT_MACHINE)
    return status if early else None


def unfinished(run: Run, cut: int | None, lacking: Sequence[str]) -> Run:
    """The run as one that was cut short or lacks cases: it fails by what it has, else it is not decided."""
    early = [status for status in (cut, EXIT_INTERRUPTED if lacking else None) if status is not None]
    decided = run.gate
    if early and decided.exit_status != EXIT_FAILED:
        decided = replace(decided, passed=False, exit_status=min(early))
    return replace(run, gate=decided, cut=cut, lacking=tuple(lacking))


def _exit_status(records: Sequence[Record], fail_on: Sequence[str]) -> int:
    kinds = {record.error.kind for record in records if record.status == "error" and record.error}
    blocking = {record.status for record in records} & (BLOCKING - {"error"})
    if blocking or kinds & GATE_ERROR_KINDS or all(record.status == "skipped" for record in records):
        return EXIT_FAILED
    if any(record.status == "error" for record in records):
        return EXIT_MACHINE
    return EXIT_NAMED if any(record.status in fail_on for record in records) else EXIT_PASSED
