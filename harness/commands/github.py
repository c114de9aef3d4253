"""What a run tells GitHub, where that runs it: marks on the lines of suites, and the summary of the job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.commands.results import tell
from harness.foreign import tell_ci
from harness.records import Run
from harness.report.annotations import marks
from harness.report.summary import MOST_BYTES, summary
from harness.report.verdict import verdict

_LEAST = 20_000
"""Bytes that a summary takes without any case, with some to spare."""


def tell_github(run: Run, environment: Mapping[str, str]) -> None:
    """Print annotations where GITHUB_ACTIONS is true, and add to the file GITHUB_STEP_SUMMARY where it is set."""
    if environment.get("GITHUB_ACTIONS") == "true":
        for command in marks(run, Path(environment.get("GITHUB_WORKSPACE") or Path.cwd())):
            tell_ci(command)
    if path := environment.get("GITHUB_STEP_SUMMARY"):
        try:
            _add(run, Path(path))
        except OSError as error:  # the run is written, and worth more than this copy of its summary
            tell(f"note: {path}: the job's summary cannot be written: {error.strerror}")


def _add(run: Run, path: Path) -> None:
    """Of several runs in one step the later ones get the room that is left."""
    room = MOST_BYTES - (path.stat().st_size if path.exists() else 0)
    text = summary(run, room) if room > _LEAST else f"\n{verdict(run).title}; the report has the rest.\n"
    with path.open("ab") as file:
        file.write(text.encode("utf-8", "backslashreplace"))
