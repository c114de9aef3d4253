"""Makes launches on this machine and adds them to a file.

    cd tests && python -m quality.latency.collect --backends cpu --launches 20 -o FILE.jsonl.gz

Every launch is a fresh process. Launches of a file are numbered on, so that a collection can be made in parts: many
with `--arms null` (how often unchanged code is called slower), fewer with every arm (which slowdowns are found).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Queue

from harness.codec import encode
from harness.environment import describe
from quality.latency.cells import CELLS, built
from quality.latency.launch import KINDS
from quality.latency.stored import ARMS, TAIL, open_text, rows

TESTS = Path(__file__).parents[2]


@dataclass(frozen=True)
class Asked:
    """What every launch is told."""

    folder: Path
    cells: str
    arms: str
    window_s: float
    only: str | None

    def command(self, number: int) -> list[str]:
        """The command of one launch."""
        words = {"folder": self.folder, "number": number, "cells": self.cells, "arms": self.arms}
        options = [f"--{name}={value}" for name, value in words.items()]
        options += [f"--window={self.window_s}", *([f"--only={self.only}"] if self.only else [])]
        return [sys.executable, "-m", "quality.latency.launch", *options]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the launches that the command line asks for; 1 if none came off."""
    asked = _parser().parse_args(arguments)
    names = asked.cells.split(",") if asked.cells else [cell.name for cell in CELLS[asked.backends]]
    output = Path(asked.output)
    folder = Path(asked.folder).absolute() if asked.folder else output.absolute().parent / "artefacts"
    # in a process of its own: one that holds the GPU would spoil every launch
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(partial(built, folder=folder), [cell for cell in CELLS[asked.backends] if cell.name in names]))
    told = Asked(folder, ",".join(names), asked.arms, asked.window, asked.only)
    start = 1 + max((row["launch"] for row in rows(output) if "launch" in row), default=-1) if output.exists() else 0
    with open_text(output, "a") as file:
        environment = encode(describe()) | {"host": ""}
        file.write(json.dumps({"kind": "machine", "environment": environment, "load": os.getloadavg()}) + "\n")
    return 0 if _launches(told, range(start, start + asked.launches), asked, output) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m quality.latency.collect", description=__doc__.splitlines()[0])
    parser.add_argument("--backends", choices=tuple(CELLS), default="cpu")
    parser.add_argument("--launches", type=int, default=10)
    parser.add_argument("--cells", help="names, with commas; all of the backends by default")
    parser.add_argument("--arms", default=",".join([*ARMS, TAIL]))
    parser.add_argument("--window", type=float, default=0.2, help="seconds of each window")
    parser.add_argument("--only", choices=KINDS, help="what the gate needs, or what rules need that compare windows")
    parser.add_argument(
        "--jobs", type=int, default=1, help="launches at once: one a GPU; on a CPU they disturb each other"
    )
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds after which no launch is started")
    parser.add_argument("--folder", help="where models and engines are kept; beside the file by default")
    parser.add_argument("-o", "--output", required=True)
    return parser


def _launches(told: Asked, numbers: range, asked: argparse.Namespace, output: Path) -> int:
    """How many launches came off; each is written when it is done."""
    deadline = time.monotonic() + asked.budget
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(asked.jobs)))).split(",")
    devices: Queue[str] = Queue()
    for device in visible[: asked.jobs]:
        devices.put(device)
    lock, done = threading.Lock(), 0

    def one(number: int) -> bool:
        if time.monotonic() > deadline:
            return False
        device = devices.get()
        try:
            lines = _launch(told, number, {"CUDA_VISIBLE_DEVICES": device} if asked.backends == "gpu" else {})
        finally:
            devices.put(device)
        with lock, open_text(output, "a") as file:
            file.write(lines)
        return bool(lines)

    with ThreadPoolExecutor(asked.jobs) as pool:
        for finished in as_completed([pool.submit(one, number) for number in numbers]):
            done += finished.result()
    print(f"{done} of {len(numbers)} launches", file=sys.stderr)
    return done


def _launch(told: Asked, number: int, variables: Mapping[str, str]) -> str:
    """The lines of one launch; none if its process failed, which is said."""
    run = subprocess.run(
        told.command(number), capture_output=True, text=True, cwd=TESTS, env=os.environ | variables, check=False
    )
    if run.returncode:
        print(f"launch {number} failed: {' '.join(run.stderr.split())[-400:]}", file=sys.stderr)
        return ""
    return run.stdout


if __name__ == "__main__":
    sys.exit(main())
