"""Memory: the parent's does not grow with what the models put out, a worker's hardly with the shape of an output."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bench import CONSOLE, Tell, suite, wide_model
from pytest_benchmark.fixture import BenchmarkFixture

ROW, BATCH, CASES = (4096, 1024), 8, 25
OUTPUT_BYTES = 4 * math.prod(ROW) * BATCH
DIFFERENCES = """
import re, sys
import numpy as np
from harness.metrics.slices import differences
shape = tuple(map(int, sys.argv[2:]))
twin = np.load(sys.argv[1], mmap_mode="r").reshape(shape)
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024
before = peak()
found = differences([twin], [twin])
print(peak() - before - sum(sums.signed.nbytes + sums.squared.nbytes for sums in found.axes.values()) / 2**20)
"""
"""A process that adds up differences by slices; it prints by how many MiB its peak grew beyond these sums."""


def peak_mib(process: int) -> float:
    """The most memory that a process ever held, as the kernel counted it."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def parent_peaks_mib(path: Path, output: Path) -> list[float]:
    """The parent's peak so far at every line that it prints: a case each, then the end."""
    command = [CONSOLE, "run", path, "-o", output, "--artefacts", output / "cache"]
    unbuffered = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=unbuffered) as parent:
        peaks = [peak_mib(parent.pid) for line in parent.stdout if line.strip()]
    assert parent.returncode == 0
    return peaks


def test_parent_memory_is_flat(benchmark: BenchmarkFixture, tell: Tell, tmp_path: Path) -> None:
    defaults = f"backends: [fake], reference: {{backend: fake}}, shapes: [{{n: {BATCH}}}], latency: {{enabled: false}}"
    source = wide_model(tmp_path / "wide.onnx", ROW)
    path = suite(tmp_path, defaults, [f"model-{i}" for i in range(CASES)], source)
    peaks = benchmark.pedantic(parent_peaks_mib, [path, tmp_path / "run"], rounds=1)
    assert len(peaks) == CASES + 2
    tell("outputs of a run", [CASES * OUTPUT_BYTES / 2**30], "GiB", "several")
    tell("    parent's peak memory at its end", [peaks[-1]], "MiB")
    tell("    its growth since the first case", [peaks[-1] - peaks[0]], "MiB", "< 50 MiB")
    assert peaks[-1] - peaks[0] < 100


@pytest.mark.parametrize("shape", [(1, 50_000_000), (1, 50, 1000, 1000)], ids=["one row", "one picture"])
def test_one_huge_row_is_added_up_in_pieces(
    shape: tuple[int, ...], benchmark: BenchmarkFixture, tell: Tell, tmp_path: Path
) -> None:
    np.save(tmp_path / "twin.npy", np.ones(shape, np.float32))
    command = [sys.executable, "-c", DIFFERENCES, str(tmp_path / "twin.npy"), *map(str, shape)]
    done = benchmark.pedantic(subprocess.check_output, [command], {"text": True}, rounds=1)
    beyond = float(done) - 4 * math.prod(shape) / 2**20
    tell(f"differences by slices of one output {list(shape)}, beyond their sums", [beyond], "MiB", "< 200 MiB")
    assert beyond < 400
