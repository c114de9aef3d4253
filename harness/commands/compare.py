"""`harness compare`: what changed between two runs."""

from __future__ import annotations

import argparse

from harness import report, store


def compare(asked: argparse.Namespace) -> int:
    """Exit 1 if anything is worse in the second run."""
    comparison = report.compare(store.read_run(asked.runs[0]), store.read_run(asked.runs[1]))
    print(report.compare_text(comparison))
    return int(comparison.worse)
