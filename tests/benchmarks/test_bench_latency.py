"""Whether a latency is true, and what the gate costs: ratios within one process and one machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import onnx
import onnxruntime
import pytest
from bench import Tell, suite
from pytest_benchmark.fixture import BenchmarkFixture

from harness.backends import BACKENDS
from harness.backends.base import Artefact, BuildSpec
from harness.cli import main
from harness.records import LatencyPlan
from harness.timing.canary import canary
from harness.timing.loop import window
from quality.latency.cells import convolutions

ROUNDS, CASES = 15, 20
PLAN = LatencyPlan(min_time_s=0.3, min_count=64, warmup_s=0.1)


def bare_p50_ms(run: Callable[[], object], seconds: float) -> float:
    """A hand-written loop."""
    times, until = [], perf_counter() + seconds
    while perf_counter() < until:
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return median(times) * 1e3


@pytest.mark.parametrize(("channels", "size"), [(8, 24), (32, 48), (32, 96)])
def test_p50_against_a_bare_loop(
    benchmark: BenchmarkFixture, tell: Tell, tmp_path: Path, channels: int, size: int
) -> None:
    path, feeds = tmp_path / "m.onnx", {"image": np.ones((1, 3, size, size), np.float32)}
    onnx.save(convolutions(channels, size), path)
    session = BACKENDS.load("onnxruntime-cpu")().open(
        Artefact(path), BuildSpec("bench", path, "fp32", {}, {}, {"threads": 1}, attest=False)
    )
    step = session.bind(feeds)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    bare = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    binding = bare.io_binding()
    binding.bind_cpu_input("image", feeds["image"])
    binding.bind_output("logits")
    found: list[tuple[float, float]] = []

    def both() -> None:
        with canary("cpu") as beside:
            ours = window(step, PLAN, beside)[0].host.p50_ms
        found.append((ours, bare_p50_ms(lambda: bare.run_with_iobinding(binding), PLAN.min_time_s)))

    benchmark.pedantic(both, rounds=ROUNDS)
    session.close()
    off = [100 * (ours / by_hand - 1) for ours, by_hand in found]
    tell(f"p50 of {median(ours for ours, _ in found):.3g} ms, off a bare loop by", off, "%", "< 1")
    assert abs(median(off)) < 2


def test_what_the_gate_costs(benchmark: BenchmarkFixture, tell: Tell, tmp_path: Path) -> None:
    model = convolutions(32, 48)
    onnx.save(model, tmp_path / "m.onnx")
    defaults = (
        f"shapes: [{', '.join(f'{{n: {n}}}' for n in range(1, CASES + 1))}], backends: [onnxruntime-cpu], "
        "options: {onnxruntime-cpu: {threads: 1}}"
    )
    path = suite(tmp_path, defaults, ["net"], tmp_path / "m.onnx")

    def run(name: str) -> float:
        start = perf_counter()
        assert main(["run", str(path), "-o", str(tmp_path / name), "--artefacts", str(tmp_path / "cache")]) == 0
        return perf_counter() - start

    plain_s = run("first")  # nothing is accepted yet, so nothing is timed in turns
    options = ["--launches", "2", "--root", str(tmp_path), "--artefacts", str(tmp_path / "cache")]
    assert main(["accept", str(tmp_path / "first"), "--reason", "a start", *options]) == 0
    model.producer_name = "another"
    onnx.save(model, tmp_path / "m.onnx")
    gated_s = benchmark.pedantic(lambda: run("gated"), rounds=1)
    cost = (gated_s - plain_s) / plain_s
    tell(f"{CASES} cases timed in turns with what was accepted, beside the measuring itself", [cost], "x", "< 2.5")
    assert cost < 5
