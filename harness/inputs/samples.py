"""Raw files by the name of their sample, and the labels that a table beside them gives.

Only names and sizes of the files are looked at here: what they hold is decoded in a worker.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InputError, did_you_mean

MAX_SAMPLES = 200_000
MAX_TEXT_BYTES = 64 << 20
MAX_WRONG = 20
"""Mistakes that are told of one folder or table."""
HEADER = "file"
"""What the first column of a table is called, where it has a first line with names."""


@dataclass(frozen=True)
class Sample:
    """One raw file, named by its path below the folder with slashes; or one line of a file, named by its number."""

    name: str
    file: Path
    line: int | None = None


@dataclass(frozen=True)
class Label:
    """One line of a table: the sample, what it is labelled with, and the line (from 1)."""

    name: str
    value: str
    line: int


def samples(source: Path, suffixes: Collection[str], *, lines: bool = False) -> list[Sample]:
    """The file itself, or every file below the folder that ends in one of `suffixes`, ordered by name.

    With `lines` every line of a file is one. Names that begin with a dot are left out. InputError where there is none,
    where there are too many, and for a link that leads out of the folder.
    """
    if source.is_file() and _suffix(source) not in suffixes:
        raise InputError(f"{source}: must end in {', '.join(sorted(suffixes))}")
    if source.is_file() and lines:
        return [Sample(str(line), source, line) for line, _ in enumerate(lines_of(source), 1)]
    if source.is_file():
        return [Sample(source.name, source)]
    found = [Sample(file.relative_to(source).as_posix(), file) for file in _below(source) if _suffix(file) in suffixes]
    if not found:
        raise InputError(f"{source}: holds no file that ends in {', '.join(sorted(suffixes))}")
    home = source.resolve()
    for one in found:
        if one.file.is_symlink() and not one.file.resolve().is_relative_to(home):
            raise InputError(f"{one.file}: is a link that leads out of its folder")
    return sorted(found, key=lambda one: one.name)


def lines_of(file: Path) -> list[str]:
    """The lines of a text file; InputError where one is empty, where there are too many, or as `read_text`."""
    lines = read_text(file).removesuffix("\n").split("\n")
    if len(lines) > MAX_SAMPLES:
        raise InputError(f"{file}: has more than {MAX_SAMPLES} lines")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise InputError(f"{file}:{number}:1: is empty: each line is a text")
    return lines


def read_text(file: Path) -> str:
    """The text of a file in UTF-8; InputError where it is none or too large."""
    try:
        if file.stat().st_size > MAX_TEXT_BYTES:
            raise InputError(f"{file}: is larger than {MAX_TEXT_BYTES >> 20} MiB, which is more than is read as text")
        return file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as text in UTF-8: {error}") from None


def _below(folder: Path) -> Iterator[Path]:
    count = 0
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.startswith("."):
                continue
            count += 1
            if count > MAX_SAMPLES:
                raise InputError(f"{folder}: holds more than {MAX_SAMPLES} files")
            yield Path(place, name)


def _suffix(file: Path) -> str:
    return file.suffix.lower()


def empty(found: Sequence[Sample]) -> list[str]:
    """Names of the files without a byte, and of those that are gone."""
    return [one.name for one in found if not one.file.is_file() or one.file.stat().st_size == 0]


def read_labels(table: Path) -> list[Label]:
    """The lines of a CSV table "file,label" in UTF-8; InputError where it is none.

    A first line whose first column is `file` names the columns; empty lines count for nothing.
    """
    try:
        if table.stat().st_size > MAX_TEXT_BYTES:
            raise InputError(f"{table}: is larger than {MAX_TEXT_BYTES >> 20} MiB, which no table of labels is")
        with table.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream, strict=True)
            return [_label(table, rows.line_num, row) for row in rows if row and not _names(rows.line_num, row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: cannot be read as a CSV table: {error}") from None


def _names(line: int, row: Sequence[str]) -> bool:
    return line == 1 and row[0].strip().lower() == HEADER


def _label(table: Path, line: int, row: Sequence[str]) -> Label:
    if len(row) != 2:
        raise InputError(f"{table}:{line}:1: must have two columns, file and label, not {len(row)}")
    return Label(row[0].strip(), row[1].strip(), line)


def mislabelled(labels: Sequence[Label], names: Sequence[str] | None, *, classes: bool) -> list[tuple[int, str]]:
    """What is wrong with a table for these samples, with its line: names that are unknown, stand there twice or lack.

    `names` is None where nobody knows yet which samples there are. `classes`: every label must be a whole number from
    0 on.
    """
    known, lines, wrong = None if names is None else set(names), dict[str, int](), []
    for one in labels:
        first = lines.setdefault(one.name, one.line)
        if known is not None and one.name not in known:
            wrong.append((one.line, f"there is no file '{one.name}'{_near(one.name, names or ())}"))
        elif first != one.line:
            wrong.append((one.line, f"'{one.name}' is labelled twice, first in line {first}"))
        elif classes and not (one.value.isascii() and one.value.isdigit()):
            wrong.append((one.line, f"'{one.value}' is no class: whole numbers from 0 on are"))
    if lacking := [name for name in names or () if name not in lines]:
        more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
        told = f"{len(labels)} labels for {len(names or ())} files: '{lacking[0]}'{more} has none"
        wrong.append((labels[-1].line if labels else 1, told))
    return wrong


def _near(name: str, names: Sequence[str]) -> str:
    near = did_you_mean(name, names) if len(names) <= 10_000 else ""
    return near if near.startswith(",") else ""
