"""`harness accept`: make measurements of runs the baseline."""

from __future__ import annotations

import argparse
import getpass
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from harness import baselines, store, suites
from harness.baselines import ACCEPTABLE, Entry
from harness.commands.admitted import admitted
from harness.commands.places import baselines_folder, cache_folder
from harness.commands.tidy import tidy
from harness.errors import UsageError
from harness.judge.drift import accuracy_of, between
from harness.records import Environment, Record, Run
from harness.runner.footing import unchanged

CANARY = "canary"


def accept(asked: argparse.Namespace) -> int:
    """Write the baseline files of the runs' machine classes, oldest run first; cases not named stay as they are."""
    if not asked.reason.strip():
        raise UsageError("--reason is empty: tell the reviewer why this is right")
    runs = sorted(map(store.read_run, asked.runs), key=lambda run: run.started)
    good = [_acceptable(run, asked.expression) for run in runs]
    for number, (run, records) in enumerate(zip(runs, good, strict=True)):
        later = {record.case.id for some in good[number + 1 :] for record in some}
        for (environment, suite), group in _by_file(records).items():
            _write(asked, run, run.environments[environment], suite, group, later)
        left = [record for record in suites.select(run.records, asked.expression) if record not in records]
        if left:
            print(f"not accepted: {_counts(left)}")
    files = {record.case.location.file for records in good for record in records}
    tidy(cache_folder(asked.artefacts), {baselines_folder(asked.baselines, asked.root, file) for file in files})
    return 0


def _acceptable(run: Run, expression: str) -> list[Record]:
    """The records that can be a baseline; UsageError where a run has none."""
    records = suites.select(run.records, expression)
    if not records:
        raise UsageError(f"no case of run {run.id} matches -k '{expression}'")
    good = [record for record in records if record.status in ACCEPTABLE or record.status == "missing"]
    if not good:
        raise UsageError(
            f"nothing of run {run.id} can be accepted: {_counts(records)}; failed and unmeasured cases cannot be a "
            "baseline"
        )
    return good


def _write(
    asked: argparse.Namespace,
    run: Run,
    environment: Environment,
    suite: str,
    group: Sequence[Record],
    later: Collection[str],
) -> None:
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
    admissions = admitted(asked, environment, group, before, later)
    with baselines.alone(folder):  # admission took minutes, in which others may have accepted cases
        now = baselines.read(folder, environment.fingerprint, suite)
        more = [one.case.id for one in group if one.case.id in now and _once_more(one, now, environment)]
        entries = baselines.accept(now, group, about, admissions, more)
        path = baselines.write(folder, environment.fingerprint, suite, entries)
    print(f"accepted {_counts(group)} into {path}")
    _tell_drift(before, group)


def _once_more(record: Record, before: Mapping[str, Entry], environment: Environment) -> bool:
    """Whether a run is one more of what is accepted, timed beside the same canary."""
    entry = before[record.case.id]
    same_canary = entry.versions.get(CANARY) == environment.versions.get(CANARY)
    return same_canary and unchanged(record, entry, environment)


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
