"""Globs as a shell has them, bounded: a pattern from elsewhere walks neither in circles nor out of the root."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path, PurePosixPath

MAGIC = re.compile(r"[*?[]")
MOST = 300_000
"""Files and folders that one pattern may look at."""


def split(pattern: str) -> tuple[str, tuple[str, ...]]:
    """The fixed folder that a pattern starts from, and its parts from the first wildcard on."""
    parts = PurePosixPath(pattern).parts
    end = next(index for index, part in enumerate(parts) if MAGIC.search(part))
    return str(PurePosixPath(*parts[:end])), parts[end:]


def matches(folder: Path, pattern: str, inside: Callable[[str], Path]) -> list[str]:
    """The paths that match, as the pattern writes them; hidden ones only where a part of it begins with a dot.

    `inside` raises ValueError for a link that leads out of the root: `**` does not follow it, a part that names it is
    wrong. A folder is not looked into again below itself. ValueError also for a pattern that looks at too many files.
    """
    fixed, parts = split(pattern)
    seen = count(1)

    def looked() -> None:
        if next(seen) > MOST:
            raise ValueError(f"'{pattern}' looks at more than {MOST} files and folders; name a narrower folder")

    start = _Place(folder / fixed, PurePosixPath(fixed), inside, looked)
    found = _below(start, parts, only_folders=pattern.endswith("/"))
    return sorted({str(place.text) for place in found})


@dataclass(frozen=True)
class _Place:
    """A file or folder, as the pattern writes it, and how to look further."""

    path: Path
    text: PurePosixPath
    inside: Callable[[str], Path]
    looked: Callable[[], None]

    def child(self, name: str) -> _Place:
        return _Place(self.path / name, self.text / name, self.inside, self.looked)

    def entries(self) -> list[_Place]:
        """What is in the folder, sorted; nothing where it cannot be read."""
        try:
            names = sorted(os.listdir(self.path))  # noqa: PTH208 - names are what is asked for
        except OSError:
            return []
        for _ in names:
            self.looked()
        return [self.child(name) for name in names]

    def is_folder(self) -> bool:
        """Whether it can be looked into: no link to a folder above it; ValueError for a link out of the root."""
        if not self.path.is_symlink():
            return self.path.is_dir()
        real = self.inside(str(self.text)).resolve()
        return real.is_dir() and not self.path.parent.resolve().is_relative_to(real)

    def is_followed(self) -> bool:
        """Whether `**` looks into it."""
        try:
            return self.is_folder()
        except ValueError:
            return False


def _below(place: _Place, parts: Sequence[str], *, only_folders: bool) -> Iterator[_Place]:
    if not parts:
        if not only_folders or place.path.is_dir():
            yield place
        return
    first, rest = parts[0], parts[1:]
    if first == "**":
        yield from _at_any_depth(place, rest, only_folders=only_folders)
        return
    for entry in place.entries():
        hidden = entry.text.name.startswith(".") and not first.startswith(".")
        if not hidden and fnmatchcase(entry.text.name, first) and (not rest or entry.is_folder()):
            yield from _below(entry, rest, only_folders=only_folders)


def _at_any_depth(place: _Place, rest: Sequence[str], *, only_folders: bool) -> Iterator[_Place]:
    if rest or place.text.name:
        yield from _below(place, rest, only_folders=only_folders)
    for entry in place.entries():
        if entry.text.name.startswith("."):
            continue
        if entry.is_followed():
            yield from _at_any_depth(entry, rest, only_folders=only_folders)
        elif not rest and not only_folders:
            yield entry
