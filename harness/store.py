"""The run folder: a journal while the run lasts, `run.json` when it ends; of a killed run the journal is the run."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import disk
from harness.codec import compact, decode, encode, parsed
from harness.errors import HarnessError, UsageError
from harness.journal import JOURNAL_FILE, Journal, Journaled, Line, read
from harness.judge.gate import EXIT_INTERRUPTED, gate
from harness.records import SCHEMA, STATUSES, Environment, Record, Run, SelfTest

RUN_FILE = "run.json"
NAME = re.compile(r"(?!\.)[A-Za-z0-9._+-]+")
"""What names of suites and machine classes are made of: they become names of files."""
Tell = Callable[[str], None]


def _tell(words: str) -> None:
    print(f"harness: {words}", file=sys.stderr)


def folder_of(path: Path) -> Path:
    """The folder of a run that is named itself or by its run.json; UsageError for another file in it."""
    if path.is_dir():
        return path
    if path.name != RUN_FILE:
        raise UsageError(f"{path}: give the folder of a run, or its {RUN_FILE}: no other file of it is signed")
    return path.parent


def new_journal(folder: Path) -> Journal:
    """The journal of a new run, alone in its folder; UsageError when that cannot be written or holds a run."""
    journal = Journal(folder)
    if not journal.begun and not (folder / RUN_FILE).exists() and journal.lock():
        return journal
    journal.close()
    raise UsageError(
        f"{folder}: holds a run already; choose another folder with -o, remove it, or continue it with --resume"
    )


def continued(folder: Path) -> tuple[Journal, Journaled]:
    """The journal of a run that is to be continued, alone in its folder, and what it holds; both empty for a new run.

    UsageError where another run is writing there, or where there is no journal to go on from.
    """
    journal = Journal(folder)
    try:
        if not journal.lock():
            raise UsageError(f"{folder}: --resume: another run is writing there; wait for it, or end it")
        known = read(folder)
        if known.empty and ((folder / RUN_FILE).exists() or len(known.damage) > 1):
            raise UsageError(f"{folder}: --resume: holds no journal to go on from; choose another folder with -o")
    except BaseException:
        journal.close()
        raise
    return journal, known


def begin_again(folder: Path, known: Journaled, journal: Journal) -> None:
    """Make room for what is written next: cut the journal's torn end, and remove what was drawn from it before.

    What a process left half-written that was killed while it drew goes as well: nobody else draws here now.
    """
    journal.cut(known.sound_bytes)
    for left in (folder / RUN_FILE, *folder.glob("run.*.tmp"), *folder.glob(".*.tmp")):
        left.unlink(missing_ok=True)


def read_journal(folder: Path) -> list[Record]:
    """The records in a folder's journal, the last of each case."""
    return [line.decoded(Record) for line in read(folder).records.values()]


def write_run(run: Run, folder: Path) -> Path:
    """Write `run.json` atomically; returns its path; HarnessError when the disk does not take it."""
    path = folder / RUN_FILE
    try:
        disk.write({path: _text(run)})
    except OSError as error:
        raise HarnessError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def _text(run: Run) -> str:
    """One field a line, and one case a line: `diff` and `grep` tell cases apart, and writing costs them little."""
    records = "[\n" + ",\n".join(map(compact, run.records)) + "\n]"
    fields = (f'"{name}": {records if name == "records" else compact(value)}' for name, value in vars(run).items())
    return "{\n" + ",\n".join(fields) + "\n}\n"


def selftest_file(cache: Path, fingerprint: str) -> Path:
    """Where the last self-test of a machine class is."""
    return cache / "selftest" / f"{fingerprint}.json"


def write_selftest(found: SelfTest, file: Path) -> None:
    """Write a self-test atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    disk.replace(file, json.dumps(encode(found), indent=1) + "\n")


def read_selftest(file: Path) -> SelfTest | None:
    """A self-test; None where there is none, or none that can be read: then a new one is needed."""
    try:
        return decode(SelfTest, parsed(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def read_run(path: Path, told: Tell = _tell) -> Run:
    """A run from its folder or its `run.json`; UsageError when it is not one.

    Where a journal is there alone, the run is made from that; `told` gets what is to be said about it.
    """
    file = path / RUN_FILE if path.is_dir() else path
    if not file.exists() and (file.parent / JOURNAL_FILE).exists():
        return recovered(file.parent, told)
    try:
        data = parsed(file.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA!r}")
        return _sound(decode(Run, data))
    except OSError as error:
        words = f"{file}: not a run: {error.strerror}; give a folder that `harness run` wrote"
        raise UsageError(words) from error
    except (ValueError, TypeError) as error:
        raise UsageError(f"{file}: not a run: {error}; give a folder that `harness run` wrote") from error


def is_whole(folder: Path) -> bool:
    """Whether a folder has a `run.json` that can be read."""
    try:
        return (folder / RUN_FILE).exists() and bool(read_run(folder / RUN_FILE))
    except UsageError:
        return False


def recovered(folder: Path, told: Tell = _tell) -> Run:
    """The run that a journal tells of, as far as it came; UsageError where that is no case and no beginning."""
    known = read(folder)
    if known.empty:
        raise UsageError(f"{folder / JOURNAL_FILE}: holds no run: nothing was begun")
    for words in known.damage:
        told(words)
    begin, order = _begin(known, folder)
    cases = {**known.undecided, **known.records}
    records = [found for one in cases.values() if (found := _record(one, told)) is not None]
    records.sort(key=lambda record: order.get(record.case.id, len(order)))
    environments = _environments(known, told)
    for record in records:
        environments.setdefault(record.environment, UNKNOWN)
    if known.end is not None:
        whole = replace(known.end.decoded(Run, "run"), records=tuple(records))
        if dict(gate(records).counts) == dict(whole.gate.counts):
            return whole
    told(f"{folder}: the run did not end: {len(records)} of {len(order) or 'an unknown number of'} cases are known")
    changed = (folder / JOURNAL_FILE).stat().st_mtime
    return replace(
        begin,
        finished=datetime.fromtimestamp(changed, UTC).isoformat(timespec="seconds"),
        gate=replace(gate(records), passed=False, exit_status=EXIT_INTERRUPTED),
        cut=EXIT_INTERRUPTED,
        environments=environments,
        records=tuple(records),
    )


UNKNOWN = Environment("unknown", "unknown", (), {}, "unknown")
"""The machine of a journal that lost the line about it."""


def _begin(known: Journaled, folder: Path) -> tuple[Run, dict[str, int]]:
    """The run before its first case, and the places of its cases; of a damaged beginning what the folder tells."""
    data = known.begin.data() if known.begin else {}
    try:
        head = {key: data[key] for key in ("id", "started", "command", "commit", "shard")} if data else _NO_HEAD
        run = decode(Run, {"schema": SCHEMA, "finished": "", "gate": _NO_GATE, "records": [], **_NO_HEAD, **head})
        order = {str(case): place for place, case in enumerate(data.get("cases") or {})}
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{known.begin.place if known.begin else folder}: no beginning of a run: {error}") from error
    return (run if data else replace(run, id=folder.resolve().name)), order


_NO_HEAD: Mapping[str, Any] = {"id": "", "started": "", "command": "", "commit": None, "environments": {}}
_NO_GATE: Mapping[str, Any] = {"passed": False, "exit_status": EXIT_INTERRUPTED, "counts": {}}


def _record(one: Line, told: Tell) -> Record | None:
    try:
        record = one.decoded(Record)
        if fault := _fault(record):
            raise UsageError(f"{one.place}: {fault}")
    except UsageError as error:
        told(f"{error}: this entry is not used")
        return None
    return record


def _environments(known: Journaled, told: Tell) -> dict[str, Environment]:
    found = {}
    for one in known.environments:
        try:
            found[str(one.data()["name"])] = _of_a_class(one.decoded(Environment, "environment"))
        except (UsageError, ValueError, KeyError, TypeError) as error:
            told(f"{error}: this entry is not used")
    return found


def _sound(run: Run) -> Run:
    """The run itself; ValueError where its parts do not fit together or could not be written back safely."""
    for environment in run.environments.values():
        _of_a_class(environment)
    for record in run.records:
        if record.environment not in run.environments:
            raise ValueError(f"{record.case.id}: its environment '{record.environment}' is not described")
        if fault := _fault(record):
            raise ValueError(fault)
    return run


def _of_a_class(environment: Environment) -> Environment:
    if not NAME.fullmatch(environment.fingerprint):
        raise ValueError(f"'{environment.fingerprint}' is no machine class")
    return environment


def _fault(record: Record) -> str:
    """Why a record could not be written back safely; empty where it can."""
    for status in (record.status, record.as_judged.status):
        if status not in STATUSES:
            return f"{record.case.id}: unknown status '{status}'"
    quantiles = (record.latency.host, record.latency.gpu) if record.latency else ()
    if any(one is not None and not one.sound for one in quantiles):
        return f"{record.case.id}: its latency holds what is no time"
    if not all(one.sound for one in record.deviations):
        return f"{record.case.id}: its deviations hold what is no count of errors"
    return "" if NAME.fullmatch(record.case.suite) else f"'{record.case.suite}' is no name of a suite"
