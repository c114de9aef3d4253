"""The journal of a run: what is known, one line each, on disk before the next case begins.

A line is `{"crc32":"89abcdef","kind":…,"data":…}`; the sum covers everything behind its first 20 characters. Kinds:
`begin` (what the run is and stands on), `environment` (by name), `measured` (a case and its outcome), `undecided` (the
record of a case as far as it is known, where it has to be timed again), `launch` and `screening` (what was timed again
of a case), `record` (a case that is decided) and `end`. Lines are only decoded where somebody asks for what they hold.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from zlib import crc32

from harness.codec import compact, decode, parsed
from harness.disk import settle
from harness.errors import HarnessError, UsageError
from harness.records import Record

JOURNAL_FILE = "journal.jsonl"
SCHEMA = "harness.journal/1"
SUMMED_FROM = 20
"""Characters of a line before those that its sum covers."""
_HEAD = re.compile(rb'\{"crc32":"([0-9a-f]{8})","kind":"([a-z]+)","data":(?:\{"case":(?:\{"id":)?("(?:[^"\\]|\\.)*"))?')
R = TypeVar("R")


@dataclass(frozen=True)
class Line:
    """One sound line, not decoded yet."""

    kind: str
    case: str
    """The id of the case that it is about; empty for none."""
    place: str
    """File and line number, for messages."""
    raw: bytes

    def data(self) -> dict[str, Any]:
        """What it holds; UsageError where that is none of what a run writes."""
        try:
            return dict(parsed(self.raw.decode())["data"])
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{self.place}: not a line of a journal: {error}") from error

    def decoded(self, kind: type[R], key: str | None = None) -> R:
        """What it holds, or what stands there under `key`, as a record; UsageError where it is none."""
        data = self.data()
        try:
            return decode(kind, data if key is None else data[key])
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{self.place}: holds no {kind.__name__.lower()}: {error}") from error


@dataclass(frozen=True)
class Journaled:
    """What a journal holds: by case the last line of each kind, and all its launches."""

    begin: Line | None = None
    environments: tuple[Line, ...] = ()
    measured: Mapping[str, Line] = field(default_factory=dict)
    undecided: Mapping[str, Line] = field(default_factory=dict)
    launches: Mapping[str, tuple[Line, ...]] = field(default_factory=dict)
    screenings: Mapping[str, Line] = field(default_factory=dict)
    records: Mapping[str, Line] = field(default_factory=dict)
    end: Line | None = None
    """There only where nothing was written behind it."""
    damage: tuple[str, ...] = ()
    """What is told of lines that could not be used."""
    sound_bytes: int = 0
    """Up to the end of the last whole line; what comes behind is torn."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to make a run of."""
        return not (self.begin or self.measured or self.records)


class Journal:
    """Appends lines, each on disk when the call returns; several processes may append to one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / JOURNAL_FILE
        self._torn = False
        """A write failed halfway: the next line begins on one of its own."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            if not self.begun:  # else a power failure may leave synced lines without a name
                settle(folder)
                settle(folder.parent)
        except OSError as error:
            words = f"{folder}: the output folder cannot be written: {error.strerror}; choose one with -o"
            raise UsageError(words) from error

    @property
    def begun(self) -> bool:
        """Whether something was written already, by whomever."""
        return os.fstat(self._file).st_size > 0

    def lock(self) -> bool:
        """Keep other runs out of the folder until this is closed; False when one is there."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            pass
        return True

    def cut(self, size: int) -> None:
        """Remove what a killed process left behind the last whole line; HarnessError when that is impossible."""
        try:
            if os.fstat(self._file).st_size > size:
                os.ftruncate(self._file, size)
        except OSError as error:
            raise HarnessError(f"{self._path}: its torn end cannot be cut off: {error.strerror}") from error

    def append(self, record: Record) -> None:
        """Write the record of a decided case; raises as `write` does."""
        self.write("record", record)

    def write(self, kind: str, data: Any, *, wait: bool = True) -> None:
        """Write one line; without `wait` it survives this process, but not a power failure, until the next that waits.

        HarnessError when the disk does not take it.
        """
        text = b"\n" * self._torn + line(kind, data)
        try:
            written = os.write(self._file, text)
        except OSError as error:
            raise HarnessError(f"{self._path}: cannot be written: {error.strerror}; {AGAIN}") from error
        self._torn = written != len(text)
        if self._torn:
            raise HarnessError(f"{self._path}: the disk took only a part of a line; is it full? {AGAIN}")
        if wait:
            self.sync()

    def sync(self) -> None:
        """Wait until all that was written is on disk; HarnessError when the disk does not take it."""
        try:
            os.fsync(self._file)
        except OSError as error:
            raise HarnessError(f"{self._path}: cannot be written: {error.strerror}; {AGAIN}") from error

    def close(self) -> None:
        """Let other runs in again."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


AGAIN = "make room, then --resume goes on from there"


def line(kind: str, data: Any) -> bytes:
    """One line of a journal, with its newline."""
    body = f'"kind":"{kind}","data":{compact(data)}}}'.encode()
    return b'{"crc32":"%08x",%b\n' % (crc32(body), body)


def read(folder: Path) -> Journaled:
    """What the journal of a folder holds; UsageError where there is none that can be read."""
    path = folder / JOURNAL_FILE
    lines: list[Line] = []
    unsound: list[int] = []
    at = sound_bytes = number = 0
    try:
        with path.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                at += len(raw)
                found = _sound(raw, f"{path}:{number}")
                if found is None:
                    unsound.append(number)
                else:
                    sound_bytes = at
                    lines.append(found)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    return _sorted(lines, tuple(_told(path, one, last=one == number) for one in unsound), sound_bytes)


def _sorted(lines: Sequence[Line], damage: tuple[str, ...], sound_bytes: int) -> Journaled:
    """By kind and case; of a kind that is there once, the first `begin` and an `end` with nothing behind it."""
    kinds: dict[str, dict[str, Line]] = {}
    launches: dict[str, list[Line]] = {}
    for one in lines:
        if one.kind == "launch":
            launches.setdefault(one.case, []).append(one)
        else:
            kinds.setdefault(one.kind, {})[one.case] = one
    return Journaled(
        begin=next((one for one in lines if one.kind == "begin"), None),
        environments=tuple(one for one in lines if one.kind == "environment"),
        measured=kinds.get("measured", {}),
        undecided=kinds.get("undecided", {}),
        launches={case: tuple(found) for case, found in launches.items()},
        screenings=kinds.get("screening", {}),
        records=kinds.get("record", {}),
        end=lines[-1] if lines and lines[-1].kind == "end" else None,
        damage=damage,
        sound_bytes=sound_bytes,
    )


def _told(path: Path, number: int, *, last: bool) -> str:
    if last:
        return f"{path}:{number}: torn: what was being written when the run was killed is not used"
    return f"{path}:{number}: damaged, its sum is wrong: this entry is not used"


def _sound(raw: bytes, place: str) -> Line | None:
    """The line, where its sum is right."""
    head = _HEAD.match(raw)
    if head is None or raw[-1:] != b"\n" or crc32(memoryview(raw)[SUMMED_FROM:-1]) != int(head[1], 16):
        return None
    case = ""
    if head[3] is not None:
        with suppress(ValueError):
            case = json.loads(head[3])
    return Line(head[2].decode(), case, place, raw)


def in_use(folder: Path) -> bool:
    """Whether a run is writing the journal of a folder now."""
    try:
        with (folder / JOURNAL_FILE).open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
