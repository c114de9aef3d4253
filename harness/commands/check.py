"""`harness check`: validate suites without running anything."""

from __future__ import annotations

import argparse

from harness.commands.run import chosen, loaded


def check(asked: argparse.Namespace) -> int:
    """Exit 0 and the number of cases; SuiteError tells every problem."""
    plans = chosen(loaded(asked), asked.expression)
    names = sorted({plan.case.suite for plan in plans})
    print(f"{len(plans)} cases in {', '.join(names)}: no problem found")
    return 0
