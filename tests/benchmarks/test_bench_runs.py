"""Whole runs: against the same calls made by hand, against one command a case, and on several workers."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from statistics import median
from time import perf_counter

import pytest
from bench import DIGITS, QUICK, Tell, small_model, suite
from pytest_benchmark.fixture import BenchmarkFixture

from harness.cli import main

MODELS, SHAPES = 10, 10
LATENCY = "{min_time_s: 0.2, warmup_s: 0.1, min_count: 20}"
DEFAULTS = f"backends: [onnxruntime-cpu], options: {{onnxruntime-cpu: {{threads: 1}}}}, latency: {LATENCY}"
BY_HAND = """
import sys
import numpy as np
from pathlib import Path
from time import perf_counter
from harness.backends import BACKENDS
from harness.backends.base import Artefact, BuildSpec
from harness.records import LatencyPlan
from harness.timing.loop import measure

path, models, shapes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
backend, plan = BACKENDS.load("onnxruntime-cpu")(), LatencyPlan(min_time_s=0.2, warmup_s=0.1, min_count=20)
rng = np.random.default_rng(0)
start = perf_counter()
for _ in range(models):
    for n in range(1, shapes + 1):
        spec = BuildSpec("by-hand", path, "fp32", {}, {}, {"threads": 1}, attest=False)
        session = backend.open(Artefact(path), spec)
        feeds = {"image": rng.normal(size=(n, 1, 8, 8)).astype(np.float32)}
        session.infer(feeds)
        measure(session.bind(feeds), plan)
        session.close()
print(perf_counter() - start)
"""
ONE_EACH = 100
"""Cases of the comparison with one command a case."""


def cases(folder: Path, models: int, shapes: int, defaults: str, source: Path) -> Path:
    """That many models of one file, each at that many batch sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    named = ", ".join(f"{{n: {n}}}" for n in range(1, shapes + 1))
    return suite(folder, f"shapes: [{named}], {defaults}", [f"model-{i}" for i in range(models)], source)


def timed(path: Path, folder: Path, *options: str) -> float:
    """The seconds of one whole run, its worker's start and its report included."""
    start = perf_counter()
    assert main(["run", str(path), "-o", str(folder), "--artefacts", str(path.parent / "cache"), *options]) == 0
    return perf_counter() - start


def test_a_run_against_the_same_calls_by_hand(benchmark: BenchmarkFixture, tell: Tell, tmp_path: Path) -> None:
    path = cases(tmp_path, MODELS, SHAPES, DEFAULTS, DIGITS)
    timed(path, tmp_path / "first")  # variants, references and twins are kept from now on
    script = tmp_path / "by_hand.py"
    script.write_text(BY_HAND)
    ratios = []

    def both(number: int) -> None:
        command = [sys.executable, str(script), str(DIGITS), str(MODELS), str(SHAPES)]
        by_hand_s = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        ratios.append(timed(path, tmp_path / f"out-{number}") / by_hand_s)

    rounds = iter(range(3))
    benchmark.pedantic(lambda: both(next(rounds)), rounds=3)
    tell(f"{MODELS * SHAPES} cases over the same calls by hand", ratios, "x", "< 1.25")
    assert median(ratios) < 1.5


def test_a_run_against_one_polygraphy_command_a_case(benchmark: BenchmarkFixture, tell: Tell, tmp_path: Path) -> None:
    quick = DEFAULTS.replace(LATENCY, QUICK)  # as many iterations as the commands make
    path = cases(tmp_path, ONE_EACH // 10, 10, quick, DIGITS)
    timed(path, tmp_path / "first")
    command = [Path(sysconfig.get_path("scripts")) / "polygraphy", "run", DIGITS, "--onnxrt", "--iterations", "20"]

    def by_commands() -> float:
        start = perf_counter()
        for number in range(ONE_EACH):
            shape = f"image:[{number % 10 + 1},1,8,8]"
            subprocess.run([*command, "--input-shapes", shape], check=True, capture_output=True)
        return perf_counter() - start

    own_s = benchmark.pedantic(lambda: timed(path, tmp_path / "out"), rounds=1)
    times = by_commands() / own_s
    tell(f"{ONE_EACH} polygraphy commands over one run of as many cases", [times], "x", "> 5")
    assert times > 2.5


@pytest.mark.parametrize("workers", [4])
def test_several_workers_against_one(workers: int, benchmark: BenchmarkFixture, tell: Tell, tmp_path: Path) -> None:
    (tmp_path / "script.yaml").write_text("cases: [{takes_s: 1.0}]\n")
    fake = "backends: [fake], reference: {backend: fake}, options: {fake: {script: script.yaml}}"
    path = cases(tmp_path, 12, 4, f"{fake}, latency: {{enabled: false}}", small_model(tmp_path / "small.onnx"))
    one_s = timed(path, tmp_path / "one", "--jobs", "1")

    many_s = benchmark.pedantic(lambda: timed(path, tmp_path / "many", "--jobs", str(workers)), rounds=1)

    tell(f"one worker over {workers}, fake cases of a second", [one_s / many_s], "x", "> 3.5")
    assert one_s / many_s > 0.5 * workers
