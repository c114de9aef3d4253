"""The run folder: a journal while the run lasts, `run.json` when it ends."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.codec import decode, encode, parsed
from harness.errors import HarnessError, UsageError
from harness.records import SCHEMA, STATUSES, Record, Run, SelfTest

RUN_FILE = "run.json"
JOURNAL_FILE = "journal.jsonl"
NAME = re.compile(r"(?!\.)[A-Za-z0-9._+-]+")
"""What names of suites and machine classes are made of: they become names of files."""


class Journal:
    """Finished cases, one a line, on disk before the next begins; several processes may append to one."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            words = f"{folder}: the output folder cannot be written: {error.strerror}; choose one with -o"
            raise UsageError(words) from error

    def claim(self) -> None:
        """Keep other runs out of the folder until this journal is closed; UsageError when one is there already."""
        taken = os.fstat(self._file).st_size > 0 or (self._path.parent / RUN_FILE).exists()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            taken = True
        except OSError:  # a file system without locks
            pass
        if taken:
            os.close(self._file)
            words = "holds a run already; choose another folder with -o, or remove it"
            raise UsageError(f"{self._path.parent}: {words}")

    def append(self, record: Record) -> None:
        """Write one record and wait until it is on disk; HarnessError when the disk does not take it."""
        line = json.dumps(encode(record)).encode() + b"\n"
        try:
            written = os.write(self._file, line)
            os.fsync(self._file)
        except OSError as error:
            raise HarnessError(f"{self._path}: cannot be written: {error.strerror}") from error
        if written != len(line):
            raise HarnessError(f"{self._path}: the disk took only a part of a record; is it full?")

    def close(self) -> None:
        """Let other runs in again."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_journal(folder: Path) -> Iterator[Record]:
    """The records in a folder's journal, in the order in which they ended."""
    with (folder / JOURNAL_FILE).open(encoding="utf-8") as lines:
        for line in lines:
            yield decode(Record, json.loads(line))


def new_journal(folder: Path) -> Journal:
    """The journal of a new run, alone in its folder; UsageError when that cannot be written or holds a run."""
    journal = Journal(folder)
    journal.claim()
    return journal


def write_run(run: Run, folder: Path) -> Path:
    """Write `run.json` atomically; returns its path; HarnessError when the disk does not take it."""
    path = folder / RUN_FILE
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(encode(run), indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise HarnessError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def selftest_file(cache: Path, fingerprint: str) -> Path:
    """Where the last self-test of a machine class is."""
    return cache / "selftest" / f"{fingerprint}.json"


def write_selftest(found: SelfTest, file: Path) -> None:
    """Write a self-test atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(encode(found), indent=1) + "\n", encoding="utf-8")
    temporary.replace(file)


def read_selftest(file: Path) -> SelfTest | None:
    """A self-test; None where there is none, or none that can be read: then a new one is needed."""
    try:
        return decode(SelfTest, parsed(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def read_run(path: Path) -> Run:
    """A run from its folder or its `run.json`; UsageError when it is not one."""
    file = path / RUN_FILE if path.is_dir() else path
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


def _sound(run: Run) -> Run:
    """The run itself; ValueError where its parts do not fit together or could not be written back safely."""
    for environment in run.environments.values():
        if not NAME.fullmatch(environment.fingerprint):
            raise ValueError(f"'{environment.fingerprint}' is no machine class")
    for record in run.records:
        if record.environment not in run.environments:
            raise ValueError(f"{record.case.id}: its environment '{record.environment}' is not described")
        if record.status not in STATUSES:
            raise ValueError(f"{record.case.id}: unknown status '{record.status}'")
        if not NAME.fullmatch(record.case.suite):
            raise ValueError(f"'{record.case.suite}' is no name of a suite")
    return run
