"""What the journal costs a case, and how soon an interrupted run of 10,000 cases goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import pytest
from bench import QUICK, Tell, small_model
from pytest_benchmark.fixture import BenchmarkFixture

from harness import journal, store, suites
from harness.cli import main
from harness.commands import course
from harness.journal import Journal
from harness.records import Outcome, Plan
from harness.runner.bench import Bench
from harness.runner.recorder import outcome_of
from harness.runner.settings import Settings

MODEL = """
  - name: model-{}
    source: small.onnx
    backends: [fake]
    reference: {{backend: fake}}
    precisions: [fp32, tf32, fp16, bf16, int8]
    shapes: [{{n: 1}}, {{n: 2}}, {{n: 4}}, {{n: 8}}]
    latency: {}
"""


class Reached(BaseException):
    """A run came to the point where it measures."""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A suite of 10,000 cases, and the folder of its run that was killed before the last of them."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "pyproject.toml").touch()
    small_model(folder / "small.onnx")
    path = folder / "bench.yaml"
    path.write_text("suite: bench\nmodels:" + "".join(MODEL.format(number, QUICK) for number in range(500)))
    first = suites.load([path])[0].case.id
    arguments = [str(path), "--artefacts", str(folder / "cache")]
    assert main(["run", *arguments, "-k", first, "-o", str(folder / "one")]) == 0
    outcome = outcome_of(store.read_run(folder / "one").records[0])

    def run_plans(
        plans: Sequence[Plan], _: Settings, bench: Bench, done: Callable[[Plan, Outcome], None], *__: object
    ) -> None:
        bench.why_not("fake")
        for plan in plans[:-1]:
            done(plan, outcome)
        raise Reached

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(course, "run_plans", run_plans)
        patched.setattr(course, "tell", lambda _: None)
        patched.setattr("os.fsync", lambda _: None)
        with pytest.raises(Reached):
            main(["run", *arguments, "-o", str(folder / "run")])
    return path, folder


def test_resume_ten_thousand_cases(
    benchmark: BenchmarkFixture, tell: Tell, many: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = many
    left = []

    def run_plans(plans: Sequence[Plan], *_: object) -> None:
        left.append(len(plans))
        raise Reached

    monkeypatch.setattr(course, "run_plans", run_plans)
    arguments = ["run", str(path), "-o", str(folder / "run"), "--resume", "--artefacts", str(folder / "cache")]

    busy: list[float] = []

    def resume() -> None:
        start = process_time()
        with pytest.raises(Reached):
            main(arguments)
        busy.append(process_time() - start)

    benchmark.pedantic(resume, rounds=5, warmup_rounds=1)
    assert set(left) == {1}
    tell("--resume of 9,999 finished cases, until it measures", benchmark.stats.stats.data, "s", "< 2 s")
    tell("    of it the CPU time of this process", busy, "s")
    size = (folder / "run" / journal.JOURNAL_FILE).stat().st_size
    tell("    its journal", [size / 2**20], "MiB")
    assert benchmark.stats.stats.median < 4


def test_reading_a_journal(benchmark: BenchmarkFixture, tell: Tell, many: tuple[Path, Path]) -> None:
    known = benchmark.pedantic(journal.read, [many[1] / "run"], rounds=5)
    assert len(known.records) == 9_999
    tell("    part: reading the journal", benchmark.stats.stats.data, "s")


def test_journal_cost(
    benchmark: BenchmarkFixture, tell: Tell, many: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = store.read_run(many[1] / "one").records[0]
    outcome = outcome_of(record)
    waited: list[float] = []

    def fsync(file: int) -> None:
        start = perf_counter()
        real(file)
        waited.append(perf_counter() - start)

    real = journal.os.fsync
    monkeypatch.setattr(journal.os, "fsync", fsync)
    with Journal(tmp_path) as made:

        def keep() -> None:
            made.write("measured", {"case": record.case.id, "outcome": outcome}, wait=False)
            made.append(record)

        benchmark.pedantic(keep, rounds=300, warmup_rounds=20)
    costs = [1e3 * (whole - disk) for whole, disk in zip(benchmark.stats.stats.data, waited[-300:], strict=True)]
    tell("journal cost of a case, without the disk's fsync", costs, "ms", "< 1 ms")
    tell("    the disk's fsync", [1e3 * one for one in waited[-300:]], "ms")
    assert median(costs) < 2
