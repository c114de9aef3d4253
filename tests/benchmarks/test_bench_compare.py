"""Comparing two outputs with every default metric: against Polygraphy's comparison, and one pass of NumPy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from bench import Tell
from pytest_benchmark.fixture import BenchmarkFixture

from harness.metrics.compare import compare
from plans import plan

ELEMENTS, MAPPED_MIB = 100_000_000, 2 * 4 * 100_000_000 / 2**20
ROUNDS = 9
PEAK = """
import re, sys
import numpy as np
from harness.metrics.compare import compare
from plans import plan
reference, candidate = (np.load(path, mmap_mode="r") for path in sys.argv[1:])
reference[:1000].max()
compare(plan(), [{"y": reference[:1000]}], [{"y": candidate[:1000]}])
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024
before = peak()
compare(plan(), [{"y": reference}], [{"y": candidate}])
print(peak() - before)
"""
"""A process that compares two files; it prints by how many MiB its peak grew, with the pages of the files in it."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A reference and a candidate as a run keeps them."""
    folder, rng = tmp_path_factory.mktemp("outputs"), np.random.default_rng(0)
    reference = rng.standard_normal(ELEMENTS, dtype=np.float32)
    candidate = reference + rng.standard_normal(ELEMENTS, dtype=np.float32) * np.float32(1e-5)
    paths = [folder / "reference.npy", folder / "candidate.npy"]
    for path, values in zip(paths, (reference, candidate), strict=True):
        np.save(path, values)
    return paths


def _mapped(files: list[Path], shape: tuple[int, ...] = (-1,)) -> list[np.ndarray]:
    return [np.load(path, mmap_mode="r").reshape(shape) for path in files]


def seconds(call: object, rounds: int) -> list[float]:
    """How long each of some calls took."""
    taken = []
    for _ in range(rounds):
        start = perf_counter()
        call()
        taken.append(perf_counter() - start)
    return taken


@pytest.mark.parametrize("shape", [(-1,), (100_000, 1000)], ids=["flat", "rows of classes"])
def test_comparing_against_one_pass_of_numpy(
    shape: tuple[int, ...], benchmark: BenchmarkFixture, tell: Tell, files: list[Path]
) -> None:
    reference, candidate = _mapped(files, shape)
    passes: list[float] = []
    ours: list[float] = []

    def both() -> None:  # by turns, so that other work on the machine meets both
        passes.extend(seconds(lambda: np.max(np.abs(candidate - reference)), 1))
        ours.extend(seconds(lambda: compare(plan(), [{"y": reference}], [{"y": candidate}]), 1))

    both()
    passes.clear(), ours.clear()  # the first reads the files and grows the process
    benchmark.pedantic(both, rounds=ROUNDS)
    ratio = min(ours) / min(passes)
    words = "flat" if len(shape) == 1 else "rows of 1000 classes"
    tell("one pass of np.max(np.abs(c - r))", passes, "s")
    tell(f"comparing 100 million float32, {words}", ours, "s")
    tell("    the fastest over the fastest pass", [ratio], "x", "< 2 x" if len(shape) == 1 else "")
    assert ratio < (4 if len(shape) == 1 else 12)


@pytest.mark.filterwarnings("ignore:CompareFunc.simple is deprecated:DeprecationWarning")
def test_comparing_against_polygraphy(benchmark: BenchmarkFixture, tell: Tell, files: list[Path]) -> None:
    from polygraphy.comparator import CompareFunc, IterationResult
    from polygraphy.logger import G_LOGGER

    reference, candidate = _mapped(files)
    results = [
        IterationResult({"y": np.asarray(values)}, runner_name=str(i))
        for i, values in enumerate((reference, candidate))
    ]
    ours = seconds(lambda: compare(plan(), [{"y": reference}], [{"y": candidate}]), ROUNDS)
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL):
        benchmark.pedantic(lambda: CompareFunc.simple()(*results), rounds=1)
    theirs = benchmark.stats.stats.data
    tell("Polygraphy's CompareFunc.simple() on the same", theirs, "s")
    tell("    times comparing with every default metric", [theirs[0] / one for one in ours], "x", "> 10 x")
    assert theirs[0] / min(ours) > 5


def test_comparing_needs_little_memory(benchmark: BenchmarkFixture, tell: Tell, files: list[Path]) -> None:
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-c", PEAK, *map(str, files)]
    done = benchmark.pedantic(subprocess.check_output, [command], {"text": True, "cwd": tests}, rounds=1)
    beyond = float(done) - MAPPED_MIB
    tell("memory beyond the mapped inputs", [beyond], "MiB", "< 1024 MiB")
    assert beyond < 2048


def test_comparing_a_tiny_output(benchmark: BenchmarkFixture, tell: Tell) -> None:
    reference = np.random.default_rng(0).standard_normal((1, 10), dtype=np.float32)
    candidate = reference + np.float32(1e-5)
    benchmark(lambda: compare(plan(), [{"y": reference}], [{"y": candidate}]))
    tell("comparing an output of 10 elements", [one * 1e3 for one in benchmark.stats.stats.data], "ms", "< 1 ms")
    assert benchmark.stats.stats.median < 2e-3
