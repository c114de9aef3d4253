"""The layers of engines on a GPU: named, timed, and told apart where the builder fused less."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.backends import BACKENDS
from harness.backends.base import Artefact, BuildSpec
from harness.backends.onnxruntime import NO_KERNELS
from harness.backends.tensorrt import TensorRT
from harness.judge.slower import pairs, slower
from harness.records import LatencyPlan, Profile
from harness.records.fusion import timed
from harness.timing.loop import measure

ABSENT = TensorRT().why_not()
CUDA_ABSENT = BACKENDS.load("onnxruntime-cuda")().why_not()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(ABSENT is not None, reason=str(ABSENT))]

DIGITS = Path(__file__).parents[2] / "suites/digits/digits_cnn.onnx"
ROWS, ITERATIONS = 256, 20
FEEDS = {"image": np.ones((ROWS, 1, 8, 8), np.float32)}
PLAN = LatencyPlan(min_time_s=0.2, min_count=100)


def spec_of(**options) -> BuildSpec:
    shapes = {"image": ((ROWS, 1, 8, 8),) * 3}
    return BuildSpec("gpu/profile", DIGITS, "fp32", shapes, {"image": "float32", "logits": "float32"}, options)


def session_of(level: int, folder: Path):
    folder.mkdir(parents=True)
    spec, backend = spec_of(optimization_level=level), TensorRT()
    return backend.open(backend.build(spec, folder), spec)


def profile_of(level: int, folder: Path) -> Profile:
    session = session_of(level, folder)
    try:
        layers = session.profile(FEEDS, ITERATIONS)
    finally:
        session.close()
    print(f"\noptimisation level {level}", *layers, sep="\n  ")
    return Profile(layers, sum(layer.ms for layer in layers), ITERATIONS, "gpu")


def test_two_builds_of_one_model_name_layers_that_are_matched(tmp_path):
    plain, best = profile_of(0, tmp_path / "0"), profile_of(3, tmp_path / "3")

    for profile in (plain, best):
        assert profile.total_ms > 0
        told = {node for layer in profile.layers for node in (*layer.nodes, *layer.name.split(" + "))}
        assert {"node_Conv_10", "node_Conv_12", "node_Conv_14"} <= told
    both = [pair for pair in pairs(best, plain) if pair.now and pair.before]
    assert sum(pair.now_ms for pair in both) > 0.5 * plain.total_ms
    print("\n0 against 3:", slower(best, plain), "\n3 against 0:", slower(plain, best))


def test_every_node_of_the_file_is_in_a_layer_and_every_layer_has_its_time(tmp_path):
    session = session_of(3, tmp_path / "3")
    try:
        session.infer(FEEDS)
        fusion = session.fusion()
        layers = session.profile(FEEDS, ITERATIONS)
    finally:
        session.close()

    found = timed(fusion, layers)
    print("", *found.layers, *found.unnamed, sep="\n  ")
    assert found.nodes == 12
    assert not found.unnamed
    assert len(found.layers) == len(fusion.layers)  # the profiler calls them as the inspector does
    assert sum(layer.ms or 0 for layer in found.layers) == pytest.approx(sum(layer.ms for layer in layers))


def test_profiling_leaves_the_session_as_it_was(tmp_path):
    session = session_of(3, tmp_path / "3")
    try:
        before = session.infer(FEEDS)["logits"]
        times = [measure(session.bind(FEEDS), PLAN).gpu.p50_ms]
        layers = session.profile(FEEDS, ITERATIONS)
        times.append(measure(session.bind(FEEDS), PLAN).gpu.p50_ms)
        after = session.infer(FEEDS)["logits"]
    finally:
        session.close()

    print(f"\ntimed {times} ms, layers together {sum(layer.ms for layer in layers)} ms")
    np.testing.assert_array_equal(before, after)
    assert times[1] == pytest.approx(times[0], rel=0.2)


@pytest.mark.skipif(CUDA_ABSENT is not None, reason=str(CUDA_ABSENT))
def test_the_cuda_provider_times_its_kernels_or_says_that_it_cannot():
    spec = spec_of()
    session = BACKENDS.load("onnxruntime-cuda")().open(Artefact(DIGITS), spec)
    try:
        reason = session.why_no_profile()
        layers = session.profile(FEEDS, ITERATIONS) if reason is None else ()
        timed_ms = measure(session.bind(FEEDS), PLAN).gpu.p50_ms
    finally:
        session.close()

    print(f"\n{reason or layers}")
    assert reason == NO_KERNELS or 0 < sum(layer.ms for layer in layers) < 3 * timed_ms
