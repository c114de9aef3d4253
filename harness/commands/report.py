"""`harness report`: draw the report of runs again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from harness import report as rendering
from harness import store
from harness.commands.sign import signed
from harness.errors import HarnessError, UsageError
from harness.journal import in_use
from harness.records import Run


def report(asked: argparse.Namespace) -> int:
    """Write the report files of every run beside its run.json, or of one run into -o."""
    if asked.output and len(asked.runs) > 1:
        raise UsageError("-o takes one run: name one RUN, or leave -o out")
    against = store.read_run(asked.against) if asked.against else None
    earlier = list(_runs(asked.history)) if asked.history else []
    for path in asked.runs:
        folder = asked.output or (path if path.is_dir() else path.parent)
        unfinished = path.is_dir() and not (path / store.RUN_FILE).exists()
        run = store.read_run(path)
        if (folder / store.RUN_FILE).exists() and store.read_run(folder).id != run.id:
            raise UsageError(f"{folder}: holds another run, whose report would be lost; choose another folder with -o")
        if unfinished and in_use(path):
            print(f"note: {path}: the run is still going on, this is what is known so far")
        elif unfinished:
            _keep(run, path, needed=folder == path)
        by = signed(store.folder_of(path)) if path.is_dir() or path.name == store.RUN_FILE else []
        rendering.write(run, folder, against, by, earlier)
        print(f"report: {folder / 'report.html'}")
    return 0


def _runs(folder: Path) -> Iterator[Run]:
    """The finished runs in the folders of one folder; what cannot be read is told and left out."""
    if not folder.is_dir():
        raise UsageError(f"--history {folder}: no such folder; name the one that holds the folders of earlier runs")
    for path in sorted(folder.glob(f"*/{store.RUN_FILE}")):
        try:
            yield store.read_run(path)
        except HarnessError as error:
            print(f"note: left out of the trends: {error}", file=sys.stderr)


def _keep(run: Run, folder: Path, *, needed: bool) -> None:
    """Write the run of a journal beside it; where the report goes elsewhere, a folder that takes nothing is told."""
    try:
        store.write_run(run, folder)
    except HarnessError as error:
        if needed:
            raise
        print(f"note: {error}; its journal stays what it is made from", file=sys.stderr)
