"""Suite files on a command line: files, and folders that are searched."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.errors import Problem, SuiteError, UsageError
from harness.suitefile import LARGEST_BYTES, SUFFIXES, head, is_suite, root_above
from harness.suites.places import Places


def suite_files(paths: Sequence[Path]) -> list[Path]:
    """The files given and the suites in the folders given, each once; UsageError names what is no suite."""
    if not paths:
        raise UsageError("no suite given: name a suite file or a folder with suites")
    wrong = [f"{path}: no such file or folder" for path in paths if not path.exists()]
    found: dict[Path, Path] = {}
    for path in paths:
        files = list(_below(path)) if path.is_dir() else [path]
        if not files:
            wrong.append(f"{path}: holds no suite (a .yaml or .yml file with a top-level 'suite:')")
        for file in files:
            found.setdefault(file.resolve(), file)
    if wrong:
        raise UsageError("\n".join(wrong))
    return list(found.values())


def _below(folder: Path) -> Iterator[Path]:
    for current, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(current) / name
            if path.suffix in SUFFIXES and is_suite(path):
                yield path


def label(path: Path) -> str:
    """The file as messages name it: as given, or below the working folder."""
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        return path.relative_to(Path.cwd()).as_posix()
    return path.as_posix()


def read(path: Path) -> str:
    """The text of a suite file; SuiteError when it cannot be read or is not UTF-8."""
    try:
        data = head(path)
    except OSError as error:
        raise UsageError(f"{label(path)}: cannot be read: {error.strerror}") from error
    if len(data) > LARGEST_BYTES:
        message = f"is larger than {LARGEST_BYTES >> 20} MiB: split the suite over several files"
        raise SuiteError([Problem(label(path), 1, 1, "", message)])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        problem = Problem(label(path), line, column, "", "is not UTF-8 text")
        raise SuiteError([problem]) from error


def places_of(path: Path, root: Path | None) -> Places:
    """Where the paths of a suite may lead; the root is the one given or the project around the suite."""
    folder = path.absolute().parent
    if root is not None and not root.is_dir():
        raise UsageError(f"--root {root}: no such folder")
    bounds = root_above(folder) if root is None else root.resolve()
    if not folder.resolve().is_relative_to(bounds):
        raise UsageError(f"{label(path)}: lies outside the root {root}; --root must be a folder above the suite")
    if not path.resolve().is_relative_to(bounds):
        raise UsageError(f"{label(path)}: is a link that leaves the root {bounds}; --root gives a wider one")
    return Places(folder, bounds)
