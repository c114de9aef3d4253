"""`harness comment`: the comment on a pull request that tells of a run."""

from __future__ import annotations

import argparse
import re

from harness import store
from harness.errors import UsageError
from harness.report.comment import comment as body


def comment(asked: argparse.Namespace) -> int:
    """Write the Markdown to -o, or print it."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,60}", asked.name) or "--" in asked.name:
        raise UsageError(f"--name '{asked.name}': letters, digits and . _ - only, no two dashes in a row")
    text = body(store.read_run(asked.run), asked.name)
    if asked.output is None:
        print(text, end="")
        return 0
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    asked.output.write_text(text, encoding="utf-8", errors="backslashreplace")
    print(f"comment: {asked.output}")
    return 0
