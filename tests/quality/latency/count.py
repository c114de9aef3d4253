"""Replays a file of launches through every rule, and counts what each says.

    cd tests && python -m quality.latency.count FILE -o DIR

Writes DIR/table.md and DIR/table.json. Exit status 1 when the harness's own gate calls unchanged code slower.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from quality.latency import table
from quality.latency.stored import UNCHANGED, load
from quality.latency.trials import GATES


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the count that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m quality.latency.count", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--draws", type=int, default=500, help="decisions of the gate on each cell and arm")
    parser.add_argument("--suites", type=int, default=100, help="clean suites")
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args(arguments)
    found = table.summary(load(asked.file), asked.draws, asked.suites)
    asked.output.mkdir(parents=True, exist_ok=True)
    text = table.markdown(found)
    (asked.output / "table.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    (asked.output / "table.md").write_text(text, encoding="utf-8")
    print(text)
    unchanged = [group["rules"][GATES[0].name]["disjoint"][UNCHANGED["turns"]] for group in found["groups"].values()]
    wrong = sum(alarms for alarms, _ in unchanged)
    if wrong:
        print(f"the gate called unchanged code slower {wrong} times: table.json has the counts", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
