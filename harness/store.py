"""The run folder: a journal while the run lasts, `run.json` when it ends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.codec import decode, encode
from harness.errors import UsageError
from harness.records import SCHEMA, Record, Run

RUN_FILE = "run.json"
JOURNAL_FILE = "journal.jsonl"


class Journal:
    """Finished cases, one a line, on disk before the next begins; several processes may append to one."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise UsageError(
                f"{folder}: the output folder cannot be written: {error.strerror}; choose one with -o"
            ) from error

    def append(self, record: Record) -> None:
        """Write one record and wait until it is on disk."""
        os.write(self._file, json.dumps(encode(record)).encode() + b"\n")
        os.fsync(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


def read_journal(folder: Path) -> Iterator[Record]:
    """The records in a folder's journal, in the order in which they ended."""
    with (folder / JOURNAL_FILE).open(encoding="utf-8") as lines:
        for line in lines:
            yield decode(Record, json.loads(line))


def prepare_folder(folder: Path) -> None:
    """Make an output folder that no other run uses; UsageError when it cannot be written or holds a run."""
    journal = folder / JOURNAL_FILE
    if (folder / RUN_FILE).exists() or (journal.exists() and journal.stat().st_size):
        raise UsageError(f"{folder}: holds a run already; choose another folder with -o, or remove it")
    Journal(folder).__exit__(None, None, None)


def write_run(run: Run, folder: Path) -> Path:
    """Write `run.json` atomically; returns its path."""
    path = folder / RUN_FILE
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(encode(run), indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def read_run(path: Path) -> Run:
    """A run from its folder or its `run.json`; UsageError when it is not one."""
    file = path / RUN_FILE if path.is_dir() else path
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA!r}")
        return decode(Run, data)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{file}: not a run: {error}; give a folder that `harness run` wrote") from error
