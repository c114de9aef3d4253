"""`harness schema`: print the JSON Schema of suite files."""

from __future__ import annotations

import argparse
import json

from harness import suites


def schema(asked: argparse.Namespace) -> int:  # noqa: ARG001 - every command takes its arguments
    """For editors: completion and checking while a suite is written."""
    print(json.dumps(suites.schema(), indent=2))
    return 0
