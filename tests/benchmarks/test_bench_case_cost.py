"""What the harness adds to a case: everything but preparing, building, loading, running and timing the model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from bench import DIGITS, QUICK, Tell, small_model, suite
from pytest_benchmark.fixture import BenchmarkFixture

from harness import report, store, suites
from harness.cli import main
from harness.codec import decode, encode
from harness.commands import course
from harness.judge import judge
from harness.judge.latency import Accepted
from harness.metrics.compare import compare
from harness.records import Outcome, Plan, Record, Run
from harness.runner.bench import Bench
from harness.runner.settings import Settings

CASES, ROUNDS = 100, 9
OF_THE_MODEL = ("prepare_s", "build_s", "load_s", "infer_s", "time_s", "profile_s")
SHAPES = f"shapes: [{', '.join(f'{{n: {n}}}' for n in range(1, 11))}], latency: {QUICK}"
FAKE = f"{SHAPES}, backends: [fake], reference: {{backend: fake}}"
ONNXRUNTIME = f"{SHAPES}, backends: [onnxruntime-cpu], options: {{onnxruntime-cpu: {{threads: 1}}}}"


def hundred_cases(folder: Path, defaults: str, source: Path) -> Path:
    """Ten models of one file x ten shapes."""
    return suite(folder, defaults, [f"model-{i}" for i in range(10)], source)


class Stopwatch:
    """Adds up the seconds spent in functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*arguments: Any) -> Any:
            start = perf_counter()
            try:
                return function(*arguments)
            finally:
                self.seconds += perf_counter() - start

        return timed


@pytest.mark.parametrize("backend", ["fake", "onnxruntime-cpu"])
def test_case_cost(
    backend: str, benchmark: BenchmarkFixture, tell: Tell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = backend == "fake"
    source = small_model(tmp_path / "small.onnx") if fake else DIGITS
    path = hundred_cases(tmp_path, FAKE if fake else ONNXRUNTIME, source)
    loop, start = Stopwatch(), Stopwatch()
    timed_run, warm = loop.on(course.run_plans), start.on(lambda bench: bench.why_not(backend))

    def run_plans(
        plans: Sequence[Plan], settings: Settings, bench: Bench, done: Callable[..., None], seconds: Mapping[str, float]
    ) -> None:
        warm(bench)
        timed_run(plans, settings, bench, done, seconds)

    monkeypatch.setattr(course, "run_plans", run_plans)
    monkeypatch.setattr(course, "write", loop.on(course.write))
    costs_ms, compares_ms, starts_s = [], [], []

    def run(folder: Path) -> None:
        loop.seconds = start.seconds = 0.0
        assert main(["run", str(path), "-o", str(folder), "--artefacts", str(tmp_path / "cache")]) == 0
        stages = [record.stages for record in store.read_run(folder).records]
        assert len(stages) == CASES
        model_s = sum(stage.get(name, 0.0) for stage in stages for name in OF_THE_MODEL)
        costs_ms.append((loop.seconds - model_s) / CASES * 1e3)
        compares_ms.append(sum(stage["compare_s"] for stage in stages) / CASES * 1e3)
        starts_s.append(start.seconds)

    folders = iter(tmp_path / f"run-{i}" for i in range(ROUNDS))
    benchmark.pedantic(run, setup=lambda: ((next(folders),), {}), rounds=ROUNDS)
    tell(f"cost of a case, {backend}", costs_ms, "ms", "< 5 ms")
    tell("    of it comparing, in the worker", compares_ms, "ms")
    tell("    apart from it: asking for the backend, once", starts_s, "s")
    assert median(costs_ms) < 10


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sequence[Plan], Run]:
    """The plans and the run of a hundred cases."""
    folder = tmp_path_factory.mktemp("finished")
    path = hundred_cases(folder, FAKE, small_model(folder / "small.onnx"))
    main(["run", str(path), "-o", str(folder / "run"), "--artefacts", str(folder / "cache")])
    return suites.load([path]), store.read_run(folder / "run")


def _outcome(record: Record) -> Outcome:
    names = ("measurements", "latency", "measures", "stages", "attested", "digests", "notes")
    return Outcome(**{name: getattr(record, name) for name in names})


def _tell_part(tell: Tell, benchmark: BenchmarkFixture, name: str, cases: int = 1) -> None:
    tell(f"    part: {name}", [seconds / cases * 1e3 for seconds in benchmark.stats.stats.data], "ms")


def test_part_protocol(benchmark: BenchmarkFixture, tell: Tell, finished: tuple[Sequence[Plan], Run]) -> None:
    plan, outcome = finished[0][0], _outcome(finished[1].records[0])

    def there_and_back() -> None:
        decode(Plan, json.loads(json.dumps(encode(plan))))
        decode(Outcome, json.loads(json.dumps(encode(outcome))))

    benchmark(there_and_back)
    _tell_part(tell, benchmark, "plan and outcome to JSON and back")


def test_part_judge(benchmark: BenchmarkFixture, tell: Tell, finished: tuple[Sequence[Plan], Run]) -> None:
    record = finished[1].records[0]
    timed = Accepted(record.latency)
    benchmark(judge, finished[0][0], _outcome(record), known=True, timed=timed)
    _tell_part(tell, benchmark, "judging against a baseline")


def test_part_compare(benchmark: BenchmarkFixture, tell: Tell, finished: tuple[Sequence[Plan], Run]) -> None:
    reference = {"y": np.random.default_rng(0).normal(size=(10, 10)).astype(np.float32)}
    candidate = {"y": reference["y"] * np.float32(1 + 1e-6)}
    benchmark(compare, finished[0][0], [reference], [candidate])
    _tell_part(tell, benchmark, "comparing 100 numbers by every metric")


def test_part_journal(
    benchmark: BenchmarkFixture, tell: Tell, finished: tuple[Sequence[Plan], Run], tmp_path: Path
) -> None:
    with store.Journal(tmp_path) as journal:
        benchmark.pedantic(journal.append, [finished[1].records[0]], rounds=200)
    _tell_part(tell, benchmark, "journal, until it is on disk (fsync)")


def test_part_report(
    benchmark: BenchmarkFixture, tell: Tell, finished: tuple[Sequence[Plan], Run], tmp_path: Path
) -> None:
    def write() -> None:
        store.write_run(finished[1], tmp_path)
        report.write(finished[1], tmp_path)

    benchmark.pedantic(write, rounds=15)
    _tell_part(tell, benchmark, "run.json and the report, per case", CASES)
