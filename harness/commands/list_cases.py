"""`harness list`: print case ids."""

from __future__ import annotations

import argparse

from harness import suites
from harness.commands.run import loaded
from harness.errors import UsageError


def list_cases(asked: argparse.Namespace) -> int:
    """One id a line, in the order in which they run."""
    plans = suites.select(loaded(asked), asked.expression)
    if not plans:
        raise UsageError(f"no case matches -k '{asked.expression}'")
    print("\n".join(plan.case.id for plan in plans))
    return 0
