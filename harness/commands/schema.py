"""`harness schema`: print the JSON Schema of suite files, or the reference made of it."""

from __future__ import annotations

import argparse
import json

from harness import suites


def schema(asked: argparse.Namespace) -> int:
    """For editors: completion and checking while a suite is written; with --markdown for readers."""
    whole = suites.schema()
    print(
        suites.reference(whole) if asked.markdown else json.dumps(whole, indent=2), end="" if asked.markdown else "\n"
    )
    return 0
