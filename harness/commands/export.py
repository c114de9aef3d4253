"""`harness export`: a run as pytest-benchmark's JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from harness import disk, store
from harness.errors import UsageError
from harness.interchange.exported import as_json, results

NAMED = 5
"""Cases that are named where some are left out."""


def export(asked: argparse.Namespace) -> int:
    """Write the file, and tell what it does not hold; UsageError when nothing could be in it."""
    found, left_out = results(store.read_run(asked.run))
    told = [f"left out, {why}: {_names(cases)}" for why, cases in left_out.items()]
    if not found.benchmarks:
        raise UsageError(f"{asked.run}: holds no times to export: {'; '.join(told) or 'it has no case'}")
    _write(asked.output, json.dumps(as_json(found), indent=4, allow_nan=False) + "\n")
    print(f"exported {len(found.benchmarks)} cases to {asked.output}")
    for line in told:
        print(line)
    return 0


def _names(cases: list[str]) -> str:
    more = f" and {len(cases) - NAMED} more" if len(cases) > NAMED else ""
    return ", ".join(cases[:NAMED]) + more


def _write(file: Path, text: str) -> None:
    """The whole file or none; what was there under that name is replaced."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        disk.replace(file, text)
    except OSError as error:
        raise UsageError(f"{file}: cannot be written: {error.strerror}; name another file with -o") from error
