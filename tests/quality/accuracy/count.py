"""Counts which accuracy rule catches which defect, and which fails healthy runs.

    cd tests && python -m quality.accuracy.count --reduced -o DIR

Writes DIR/count.jsonl.gz (one line a run), DIR/table.md and DIR/table.json; with --keep also DIR/outputs/*.npz. Exit
status 1 when the harness fails a healthy run.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

from quality.accuracy import table, tasks
from quality.accuracy.defects import DEFECTS, Defect
from quality.accuracy.models import MODELS, models
from quality.accuracy.paths import CPU, GPU, Route
from quality.accuracy.tasks import Row, Task
from quality.accuracy.variants import PRECISIONS

REDUCED = ("digits", "detection", "attention", "gru", "scales", "choice")
DEFECTIVE = {
    "fp32": ("all", "jitter"),
    "tf32": ("tf32-all", "fp32-all"),
    "fp16": ("rounded", "all"),
    "bf16": ("fused", "rounded"),
    "int8": ("all", "jitter"),
}
"""The routes on which defects run without a GPU; the reduced count takes the first."""


class Pool:
    """Processes that run steps until a deadline; a step that kills its process is lost, and said so."""

    def __init__(self, jobs: int, gpus: int) -> None:
        self._jobs, self._gpus = jobs, gpus
        self._context = multiprocessing.get_context("spawn")
        self._executor = self._start()

    def map(self, steps: Iterable[Callable[[], Any]], deadline: float = float("inf")) -> Iterator[Any]:
        """The results of the steps as they come; no step is started after the deadline."""
        waiting: set[Future[Any]] = set()
        for step in steps:
            if time.monotonic() > deadline:
                break
            waiting.add(self._submit(step))
            if len(waiting) >= 2 * self._jobs:
                yield from self._done(waiting)
        while waiting:
            yield from self._done(waiting)

    def close(self) -> None:
        """End the processes."""
        self._executor.shutdown(cancel_futures=True)

    def _start(self) -> ProcessPoolExecutor:
        started = self._context.Value("i", 0)
        return ProcessPoolExecutor(self._jobs, self._context, settle, (started, self._gpus))

    def _submit(self, step: Callable[[], Any]) -> Future[Any]:
        try:
            return self._executor.submit(step)
        except BrokenProcessPool:
            self._executor = self._start()
            return self._executor.submit(step)

    def _done(self, waiting: set[Future[Any]]) -> Iterator[Any]:
        finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
        for one in finished:
            waiting.discard(one)
            try:
                yield one.result()
            except BrokenProcessPool:
                print("a process died: what it ran is lost", file=sys.stderr)


def settle(started: Any, gpus: int) -> None:
    """Gives a process of the pool its GPU."""
    if not gpus:
        return
    with started.get_lock():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[started.value % gpus]
        started.value += 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the count that the command line asks for."""
    asked = _parser().parse_args(arguments)
    start = time.monotonic()
    folder, place = Path(asked.output), Path(asked.output) / "work"
    shutil.rmtree(place, ignore_errors=True)  # healthy runs of an older count must not widen the spread
    place.mkdir(parents=True)
    names = _models(asked)
    precisions = asked.precisions.split(",")
    pool = Pool(asked.jobs, asked.gpus if asked.backends == "gpu" else 0)
    try:
        units = _prepare(pool, place, names, precisions)
        _run_healthy(pool, place, units, _healthy_routes(asked.backends))
        rows = _judge(pool, folder, place, units, asked, start)
    finally:
        pool.close()
        if not asked.keep:
            shutil.rmtree(place)
    print(f"{len(rows)} runs judged in {time.monotonic() - start:.0f} s", file=sys.stderr)
    print(table.write(rows, folder))
    wrong = [
        row
        for row in rows
        if row["family"] == "healthy" and not row.get("verdicts", {}).get("harness auto", True) and not row["unfit"]
    ]
    if wrong:
        print(f"{len(wrong)} healthy runs fail the harness's own rule: table.json names them", file=sys.stderr)
    return 1 if wrong or not rows else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m quality.accuracy.count", description=__doc__.splitlines()[0])
    parser.add_argument("--backends", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--models", help="names, with commas; all by default")
    parser.add_argument("--precisions", default=",".join(PRECISIONS))
    parser.add_argument("--replicas", type=int, default=1, help="that many times all models, each time other weights")
    parser.add_argument("--draws", type=int, default=1, help="that many places for each defect")
    parser.add_argument("--reduced", action="store_true", help="six models, one route a defect")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--gpus", type=int, default=1, help="spread the processes over that many GPUs")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds after which no run is started")
    parser.add_argument("--join", type=Path, help="count.jsonl.gz of a count that its budget cut off: go on behind it")
    parser.add_argument("--skip", type=int, default=0, help="runs that it made, healthy ones included")
    parser.add_argument("--keep", action="store_true", help="keep all outputs, and what they are judged by")
    parser.add_argument("-o", "--output", required=True)
    return parser


def _models(asked: argparse.Namespace) -> list[str]:
    chosen = asked.models.split(",") if asked.models else list(REDUCED if asked.reduced else MODELS)
    everything = [list(models(replica)) for replica in range(asked.replicas)]
    places = [list(MODELS).index(name) for name in chosen]
    return [names[place] for names in everything for place in places]


def _prepare(pool: Pool, place: Path, names: list[str], precisions: list[str]) -> list[tuple[str, str]]:
    units = [(name, precision) for name in names for precision in precisions]
    _told(pool.map(partial(tasks.prepare, str(place), *unit) for unit in units))
    return [unit for unit in units if (place / f"{'.'.join(unit)}.job").exists()]


def _healthy_routes(backends: str) -> Callable[[str], tuple[Route, ...]]:
    return lambda precision: CPU[precision] + (GPU if backends == "gpu" else ())


def _run_healthy(
    pool: Pool, place: Path, units: list[tuple[str, str]], routes: Callable[[str], tuple[Route, ...]]
) -> None:
    wanted = [Task(*unit, route.name) for unit in units for route in routes(unit[1])]
    _told(pool.map(partial(tasks.run_healthy, str(place), task) for task in wanted))


def _told(problems: Iterable[str | None]) -> None:
    for problem in filter(None, problems):
        print(" ".join(problem.split())[:400], file=sys.stderr)


def _judge(
    pool: Pool, folder: Path, place: Path, units: list[tuple[str, str]], asked: argparse.Namespace, start: float
) -> list[Row]:
    healthy, defective = _tasks(place, units, asked)
    random.Random(0).shuffle(defective)  # so that a budget cuts all models alike
    spread = {f"{model}.{precision}": tasks.spreads(place, f"{model}.{precision}") for model, precision in units}
    keep = str(folder / "outputs") if asked.keep else None
    wanted = [*healthy, *defective][asked.skip :]
    steps = [partial(tasks.judge, str(place), task, spread[task.unit], keep) for task in wanted]
    rows, done = table.read(asked.join) if asked.join else [], 0
    with gzip.open(folder / "count.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
        for row in pool.map(steps, start + asked.budget):
            done += 1
            if row is not None:
                rows.append(row)
                file.write(json.dumps(row) + "\n")
    print(f"{done} of {len(steps)} runs were made" + (": the budget is spent" * (done < len(steps))), file=sys.stderr)
    return rows


def _tasks(place: Path, units: list[tuple[str, str]], asked: argparse.Namespace) -> tuple[list[Task], list[Task]]:
    gpu = asked.backends == "gpu"
    healthy, defective = [], []
    for model, precision in units:
        ran = [r.name for r in (GPU if gpu else CPU[precision]) if _ran(place, model, precision, r.name)]
        healthy += [Task(model, precision, name) for name in ran]
        chosen = [route.name for route in GPU] if gpu else list(DEFECTIVE[precision][: 1 if asked.reduced else 2])
        for number, defect in enumerate(DEFECTS):
            if precision in defect.precisions and not (gpu and defect.emulated):
                draws = range(asked.draws if _drawn(defect) else 1)
                defective += [Task(model, precision, r, number, d) for r in chosen if r in ran for d in draws]
    return healthy, defective


def _ran(place: Path, model: str, precision: str, route: str) -> bool:
    return tasks.healthy_file(place, f"{model}.{precision}", route).exists()


def _drawn(defect: Defect) -> bool:
    """Whether the defect has a place that is drawn."""
    return defect.instead is None and not defect.emulated


if __name__ == "__main__":
    sys.exit(main())
