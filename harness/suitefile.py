"""What makes a YAML file a suite, told without parsing it; light, because every pytest run imports it."""

from __future__ import annotations

import re
import stat
from pathlib import Path

LARGEST_BYTES = 8 * 2**20
"""A larger file is no suite."""
ROOT_MARKS = (".git", "pyproject.toml")
SUFFIXES = (".yaml", ".yml")
_SUITE_LINE = re.compile(rb"""^(\xef\xbb\xbf)?(suite|"suite"|'suite')[ \t]*:(\s|$)""", re.MULTILINE)
_HELM_UNITTEST = re.compile(rb"^[ \t-]*asserts[ \t]*:", re.MULTILINE)
"""The unit tests of Helm charts begin with `suite:` too; no suite of ours can hold the key `asserts`."""


def is_suite(path: Path) -> bool:
    """Whether a file has a top-level `suite:` line; a quick look, not a parse."""
    try:
        data = head(path)
    except OSError:
        return False
    return bool(_SUITE_LINE.search(data)) and not _HELM_UNITTEST.search(data)


def head(path: Path) -> bytes:
    """A file up to one byte more than a suite may have; OSError for what cannot be read, a pipe or a device too."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(0, "is no file")
    with path.open("rb") as stream:
        return stream.read(LARGEST_BYTES + 1)


def root_above(folder: Path) -> Path:
    """The nearest folder above, links resolved, that is a repository or a project; else the folder itself."""
    real = folder.resolve()
    marked = (above for above in (real, *real.parents) if any((above / mark).exists() for mark in ROOT_MARKS))
    return next(marked, real)
