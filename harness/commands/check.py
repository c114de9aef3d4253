"""`harness check`: validate suites without running anything."""

from __future__ import annotations

import argparse

from harness import suites
from harness.commands.run import chosen


def check(asked: argparse.Namespace) -> int:
    """Exit 0 and the number of cases; SuiteError tells every problem."""
    plans = chosen(suites.load(asked.suites, asked.root), asked.expression)
    names = sorted({plan.case.suite for plan in plans})
    print(f"{len(plans)} cases in {', '.join(names)}: no problem found")
    return 0
