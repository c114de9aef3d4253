"""Makes every fault, and writes what became of it.

    cd tests && python -m faults.count -o DIR [-k WORDS]

Writes DIR/table.md. Exit status 1 when anything is otherwise than it should be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from faults.bases import make
from faults.catalogue import FAULTS
from faults.engine import Result, run
from faults.table import markdown


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the count that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m faults.count", description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("-k", dest="words", default="", help="only faults whose name holds this")
    parser.add_argument("--at-once", type=int, default=5, help="how many are made at once (default 5)")
    asked = parser.parse_args(arguments)
    wanted = [fault for fault in FAULTS if asked.words in f"{fault.name} {fault.how}"]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as name, ThreadPoolExecutor(asked.at_once) as pool:
        folder = Path(name)
        kinds = dict.fromkeys(fault.suite for fault in wanted)
        bases = dict(zip(kinds, pool.map(lambda kind: make(kind, folder / "bases" / kind), kinds), strict=True))

        def one(number: int) -> Result:
            fault = wanted[number]
            result = run(fault, bases[fault.suite], folder / str(number))
            print(f"{'WRONG' if result.wrong else 'ok':5s} {result.seconds:5.1f} s  {fault.name}", flush=True)
            for problem in result.problems:
                print(f"      {problem}", flush=True)
            return result

        results = list(pool.map(one, range(len(wanted))))
    text = markdown(results, time.monotonic() - began)
    asked.output.mkdir(parents=True, exist_ok=True)
    (asked.output / "table.md").write_text(text, encoding="utf-8")
    wrong = [result.fault.name for result in results if result.wrong]
    print(f"{len(results)} faults in {time.monotonic() - began:.0f} s, {len(wrong)} ended otherwise than they should")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
