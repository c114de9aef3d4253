"""Where a command reads and writes by default."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import UsageError, did_you_mean
from harness.records import STATUSES

ROOT_MARKS = (".git", "pyproject.toml")


def root_above(file: Path) -> Path:
    """The nearest folder above a file that is a repository or a project, else the file's own folder."""
    folder = file.absolute().parent
    return next(
        (above for above in (folder, *folder.parents) if any((above / mark).exists() for mark in ROOT_MARKS)), folder
    )


def baselines_folder(given: Path | None, root: Path | None, suite_file: str) -> Path:
    """`--baselines`, else `<root>/baselines`."""
    return given or (root or root_above(Path(suite_file))) / "baselines"


def cache_folder(given: Path | None) -> Path:
    """`--artefacts`, else the user's cache."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = given or base / "trt-harness"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be made: {error.strerror}; choose another folder with --artefacts"
        ) from error
    return folder.absolute()


def statuses(text: str) -> tuple[str, ...]:
    """The statuses of `--fail-on`; UsageError names one that does not exist."""
    named = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in named:
        if name not in STATUSES:
            raise UsageError(f"--fail-on: unknown status '{name}'{did_you_mean(name, STATUSES)}")
    return named
