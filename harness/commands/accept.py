"""`harness accept`: make a run's measurements the baseline."""

from __future__ import annotations

import argparse
import getpass
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import baselines, store, suites
from harness.baselines import ACCEPTABLE, Entry
from harness.commands.admitted import admitted
from harness.commands.places import baselines_folder
from harness.errors import UsageError
from harness.judge.drift import accuracy_of, between
from harness.records import Environment, Record, Run


def accept(asked: argparse.Namespace) -> int:
    """Write the baseline files of the run's machine class; cases that are not named stay as they are."""
    if not asked.reason.strip():
        raise UsageError("--reason is empty: tell the reviewer why this is right")
    run = store.read_run(asked.run)
    records = suites.select(run.records, asked.expression)
    if not records:
        raise UsageError(f"no case of {asked.run} matches -k '{asked.expression}'")
    good = [record for record in records if record.status in ACCEPTABLE or record.status == "missing"]
    if not good:
        raise UsageError(
            f"nothing can be accepted: {_counts(records)}; failed and unmeasured cases cannot be a baseline"
        )
    for (environment, suite), group in _by_file(good).items():
        _write(asked, run, run.environments[environment], suite, group)
    if left := [record for record in records if record not in good]:
        print(f"not accepted: {_counts(left)}")
    return 0


def _write(asked: argparse.Namespace, run: Run, environment: Environment, suite: str, group: Sequence[Record]) -> None:
    file = group[0].case.location.file
    if not (asked.baselines or asked.root or Path(file).exists()):
        raise UsageError(
            f"{file}: is not here, so the baselines of its root cannot be found: "
            "work in the folder of the run, or name --baselines"
        )
    folder = baselines_folder(asked.baselines, asked.root, file)
    about = {
        "versions": environment.versions,
        "run": run.id,
        "commit": run.commit,
        "date": run.finished,
        "by": asked.by or getpass.getuser(),
        "reason": asked.reason,
    }
    before = baselines.read(folder, environment.fingerprint, suite)
    admissions = admitted(asked, environment, group, before)
    path = baselines.write(folder, environment.fingerprint, suite, baselines.accept(before, group, about, admissions))
    print(f"accepted {_counts(group)} into {path}")
    _tell_drift(before, group)


def _tell_drift(before: Mapping[str, Entry], records: Sequence[Record]) -> None:
    """Errors that grew and are the new measure from now on: small steps, each accepted, make a long way."""
    for record in records:
        entry = before.get(record.case.id)
        found = between(entry.errors, accuracy_of(record), record.case.precision) if entry else []
        for drift in found:
            print(f"accepted with drifted accuracy: {record.case.id} {drift.words()}")


def _by_file(records: Sequence[Record]) -> dict[tuple[str, str], list[Record]]:
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        found.setdefault((record.environment, record.case.suite), []).append(record)
    return found


def _counts(records: Sequence[Record]) -> str:
    return ", ".join(f"{count} {status}" for status, count in Counter(record.status for record in records).items())
