"""`harness import`: pytest-benchmark's JSON as a run."""

from __future__ import annotations

import argparse
import shlex
import sys

from harness import report, store
from harness.commands.places import baselines_folder
from harness.commands.results import line, reviewed, stale_lines, summary_line
from harness.errors import UsageError
from harness.interchange.imported import File, file_of, records
from harness.records import DEFAULT_ENVIRONMENT, Run
from harness.runner.recorder import Judged

EARLIER = "earlier"
"""Folder of the runs of all files but the latest, beside its run."""


def import_results(asked: argparse.Namespace) -> int:
    """Write the latest file as a run with its report to DIR, the others as runs under DIR/earlier."""
    if not store.NAME.fullmatch(asked.suite):
        raise UsageError(
            f"--suite '{asked.suite}': a name is made of letters, digits and . _ + -, and begins with no dot"
        )
    files = sorted((file_of(path, asked.suite) for path in asked.files), key=lambda file: file.results.when)
    *earlier, latest = [_run(asked, file, files[:number]) for number, file in enumerate(files)]
    store.new_journal(asked.output).close()
    for number, run in enumerate(earlier, start=1):
        folder = asked.output / EARLIER / f"{number:04d}-{run.id}"
        folder.mkdir(parents=True, exist_ok=True)
        store.write_run(run, folder)
    store.write_run(latest, asked.output)
    report.write(latest, asked.output, earlier[-1] if earlier else None, earlier=earlier)
    for words in (*map(line, latest.records), *stale_lines(latest)):
        print(words)
    print(f"\n{summary_line(latest)}\nreport: {asked.output / 'report.html'}")
    return 0


def _run(asked: argparse.Namespace, file: File, earlier: list[File]) -> Run:
    """One file as a run, judged by what was accepted for its machine class, else by the files before it."""
    judged = Judged(
        lambda place: baselines_folder(asked.baselines, asked.root, place),
        {DEFAULT_ENVIRONMENT: file.batch.environment}.__getitem__,
        started=file.results.when.isoformat(),
    )
    found = records(file.batch, [one.batch for one in earlier], judged.entries)
    run = file.run([judged.acknowledged(one) for one in found], shlex.join(["harness", *sys.argv[1:]]))
    return reviewed(run, judged, whole=False)
