"""Turns a run into files for people and for tools; reads records only and never a model or a runtime."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from harness import disk
from harness.records import Run
from harness.report.cases_csv import csv
from harness.report.comparison import Change, Comparison, compare, compare_text
from harness.report.junit import junit
from harness.report.page import html
from harness.report.summary import summary
from harness.report.trend import past
from harness.signatures import Checked

__all__ = ["Change", "Comparison", "compare", "compare_text", "csv", "html", "junit", "summary", "whole", "write"]

FILES = ("report.html", "junit.xml", "summary.md", "cases.csv")


def whole(folder: Path) -> bool:
    """Whether all that `write` writes is there."""
    return all((folder / name).exists() for name in FILES)


def write(
    run: Run, folder: Path, against: Run | None = None, signed: Sequence[Checked] = (), earlier: Iterable[Run] = ()
) -> None:
    """Write report.html, junit.xml, summary.md and cases.csv into `folder`, each whole or not at all.

    Of `earlier` runs the page draws trends, of those on the same machine class.
    """
    comparison = compare(against, run) if against else None
    page = html(run, comparison, signed, past(run, earlier))
    texts = dict(zip(FILES, (page, junit(run), summary(run), csv(run)), strict=True))
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        disk.replace(folder / name, text, "backslashreplace")  # logs may hold bytes that were never text
