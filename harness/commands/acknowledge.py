"""`harness acknowledge`: let a known failure through until a date, in the file that is reviewed with the baselines."""

from __future__ import annotations

import argparse
import getpass
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from harness import store, suites
from harness.commands.places import baselines_folder
from harness.errors import UsageError, did_you_mean
from harness.judge.acknowledged import failing
from harness.records import ACKNOWLEDGED_FILE, BLOCKING, KnownFailure, Record


def acknowledge(asked: argparse.Namespace) -> int:
    """Add or renew one entry; nothing is judged."""
    entry = KnownFailure(
        case=asked.case,
        status=asked.status or ("failed" if asked.checks and not asked.run else ""),
        reason=_said(asked.reason, "--reason", "why may this fail, for the reviewer"),
        issue=_said(asked.issue, "--issue", "where its repair is followed"),
        since=datetime.now(UTC).date().isoformat(),
        until=asked.until,
        by=asked.by or getpass.getuser(),
        machine=asked.machine,
        kind=asked.kind,
        checks=tuple(asked.checks),
        up_to=_share(asked.up_to) if asked.up_to else None,
    )
    if entry.until < entry.since:
        raise UsageError(f"--until {entry.until}: is past already; today is {entry.since}")
    if not (asked.run or entry.status):
        raise UsageError("say what may be: --check NAME, --status STATUS, or --run RUN for what blocked in a run")
    if asked.run:
        entry = _of_run(entry, _record(asked.run, asked.case))
    folder = baselines_folder(asked.baselines, asked.root, "suite.yaml")
    renewed = suites.acknowledge(folder, entry)
    print(f"{'renewed' if renewed else 'acknowledged'} until {entry.until}: {entry.case}, {_covered(entry)}")
    print(f"in {suites.label(folder / ACKNOWLEDGED_FILE)}: have it reviewed; `harness judge RUN` decides a run by it")
    return 0


def _said(text: str, option: str, what: str) -> str:
    if not text.strip():
        raise UsageError(f"{option} is empty: tell {what}")
    return " ".join(text.split())


def _share(text: str) -> float:
    number = text.removesuffix("%").strip()
    if not (text.endswith("%") and re.fullmatch(r"[0-9]+(\.[0-9]+)?", number) and 0 < float(number) < 100):
        raise UsageError(f"--up-to '{text}': is no percentage: write it as 12%")
    return float(f"{number}e-2")


def _record(run: Path, case: str) -> Record:
    records = {record.case.id: record for record in store.read_run(run).records}
    if case not in records:
        raise UsageError(f"{run}: has no case '{case}'{did_you_mean(case, records)}")
    record = records[case].as_judged
    if record.status not in BLOCKING:
        raise UsageError(f"{case}: is {record.status} in {run}, which blocks nothing: there is nothing to acknowledge")
    return record


def _of_run(entry: KnownFailure, record: Record) -> KnownFailure:
    """The entry for exactly what went wrong in a run, as far as the command does not say otherwise."""
    kind = record.error.kind if record.status == "error" and record.error else ""
    checks = tuple(failing(record)) if record.status == "failed" else ()
    return replace(entry, status=record.status, kind=entry.kind or kind, checks=entry.checks or checks)


def _covered(entry: KnownFailure) -> str:
    if entry.checks:
        return f"{entry.status} in {', '.join(entry.checks)}"
    if entry.kind:
        return f"{entry.status} of kind {entry.kind}"
    if entry.status == "regressed":
        return f"regressed by up to {100 * entry.up_to:g} %" if entry.up_to else "regressed by any amount"
    return entry.status
