"""What every call pays before it does anything, and what a large suite pays to be read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from bench import CONSOLE, Tell, ten_thousand
from pytest_benchmark.fixture import BenchmarkFixture

HEAVY = {"numpy", "onnx", "onnxruntime", "tensorrt", "torch", "tensorflow", "pydantic", "pandas", "jinja2"}


def test_help_imports_nothing_heavy() -> None:
    told = subprocess.run(
        [sys.executable, "-X", "importtime", CONSOLE, "--help"], capture_output=True, text=True, check=True
    )
    imported = {match[1] for match in re.finditer(r"\| +(\w+)", told.stderr)}
    assert "harness" in imported
    assert not imported & HEAVY


def test_help(benchmark: BenchmarkFixture, tell: Tell) -> None:
    command = [CONSOLE, "--help"]
    benchmark.pedantic(
        subprocess.run, [command], {"check": True, "stdout": subprocess.DEVNULL}, rounds=15, warmup_rounds=2
    )
    seconds = benchmark.stats.stats.data
    tell("harness --help, whole process", [s * 1e3 for s in seconds], "ms", "< 300 ms")
    assert benchmark.stats.stats.median < 0.6


def test_list_ten_thousand_cases(benchmark: BenchmarkFixture, tell: Tell, tmp_path: Path) -> None:
    command = [CONSOLE, "list", ten_thousand(tmp_path)]
    ran = benchmark.pedantic(
        subprocess.run, [command], {"check": True, "capture_output": True}, rounds=7, warmup_rounds=1
    )
    assert len(ran.stdout.splitlines()) == 10_000
    tell("harness list of 10,000 cases, whole process", benchmark.stats.stats.data, "s", "< 3 s")
    assert benchmark.stats.stats.median < 6
