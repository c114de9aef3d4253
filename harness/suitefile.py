"""What makes a YAML file a suite, told without parsing it; light, because every pytest run imports it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT_MARKS = (".git", "pyproject.toml")
SUFFIXES = (".yaml", ".yml")
_SUITE_LINE = re.compile(rb"""^(\xef\xbb\xbf)?(suite|"suite"|'suite')[ \t]*:(\s|$)""", re.MULTILINE)
_HELM_UNITTEST = re.compile(rb"^[ \t-]*asserts[ \t]*:", re.MULTILINE)
"""The unit tests of Helm charts begin with `suite:` too; no suite of ours can hold the key `asserts`."""


def is_suite(path: Path) -> bool:
    """Whether a file has a top-level `suite:` line; a quick look, not a parse."""
    try:
        data = path.read_bytes()
    except OSError:
        return False
    return bool(_SUITE_LINE.search(data)) and not _HELM_UNITTEST.search(data)


def root_above(folder: Path) -> Path:
    """The nearest folder above, links resolved, that is a repository or a project; else the folder itself."""
    real = folder.resolve()
    marked = (above for above in (real, *real.parents) if any((above / mark).exists() for mark in ROOT_MARKS))
    return next(marked, real)
