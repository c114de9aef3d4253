"""On a GPU: iterations with transfers, from CUDA graphs, with a cold cache, and several in flight."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import replace

import numpy as np
import onnx
import pytest

from harness.backends.base import PLAIN, BuildSpec, Mode
from harness.backends.onnxruntime import Cuda
from harness.backends.tensorrt import TensorRT
from harness.environment import describe
from harness.records import LatencyPlan, Offline, Server, ServingPlan, SingleStream
from harness.runner import serving, windows
from harness.runner.footprint import before, taken
from harness.timing.loop import window
from models import attention

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(TensorRT().why_not() is not None, reason=str(TensorRT().why_not()))]

SHAPE = (16, 128, 256)
FEEDS = {"tokens": np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)}
TIMING = LatencyPlan(min_time_s=0.2)
BACKENDS = [
    TensorRT,
    pytest.param(Cuda, marks=pytest.mark.skipif(Cuda().why_not() is not None, reason=str(Cuda().why_not()))),
]


@pytest.fixture(scope="module", params=BACKENDS)
def opener(request, tmp_path_factory):
    """Opens sessions on one artefact in a mode."""
    folder = tmp_path_factory.mktemp("built")
    onnx.save(attention(width=256, heads=8), folder / "m.onnx")
    dtypes = {"tokens": "float32", "out": "float32"}
    spec = BuildSpec("gpu/settings", folder / "m.onnx", "fp32", {"tokens": (SHAPE,) * 3}, dtypes, {}, attest=False)
    artefact = request.param().build(spec, folder)
    return lambda mode=PLAIN: request.param().open(artefact, replace(spec, mode=mode))


@contextmanager
def step(opener, **mode):
    with closing(opener(Mode(**mode))) as session:
        yield session.bind(FEEDS)


def measured(opener, **mode):
    with step(opener, **mode) as one:
        latency, made_of = window(one, TIMING)
    print(f"\n{mode}: {latency.gpu.p50_ms:.4f} ms on the GPU, {latency.host.p50_ms:.4f} on the host, {made_of}")
    return latency, made_of


def test_the_copies_and_the_work_make_up_an_iteration(opener):
    latency, made_of = measured(opener, transfers=True)

    assert made_of["copy_in_ms"] > 0
    assert made_of["copy_out_ms"] > 0
    whole = sum(made_of[name] for name in ("copy_in_ms", "compute_ms", "copy_out_ms"))
    assert whole == pytest.approx(latency.gpu.p50_ms, rel=0.15)
    assert latency.gpu.p50_ms > made_of["compute_ms"]


def test_a_replayed_graph_gives_the_work_to_the_gpu_in_less_time(opener):
    _, plain = measured(opener)
    latency, graph = measured(opener, cuda_graph=True)

    assert latency.gpu.samples >= TIMING.min_count
    assert graph["enqueue_ms"] < plain["enqueue_ms"]


def test_a_graph_with_transfers_has_all_parts(opener):
    assert {"copy_in_ms", "compute_ms", "copy_out_ms"} <= set(measured(opener, cuda_graph=True, transfers=True)[1])


def test_a_cold_cache_makes_nothing_faster(opener):
    plain, _ = measured(opener)
    with step(opener) as one, windows.readied(one, replace(TIMING, flush_l2=True)) as cold:
        flushed, _ = window(cold, TIMING)
    print(f"\ncold {flushed.gpu.p50_ms:.4f} ms, warm {plain.gpu.p50_ms:.4f} ms")

    assert flushed.gpu.p50_ms > 0.95 * plain.gpu.p50_ms


def test_iterations_in_flight_bring_no_less_than_one_after_the_other(opener):
    with closing(opener()) as session:
        timed = windows.time(replace(TIMING, streams=2, depth=4), "cuda", session, opener, FEEDS)
    per_s = timed.measures["throughput_per_s"]
    print(f"\n{per_s:.0f} iterations a second, {1e3 / timed.latency.host.p50_ms:.0f} one after the other")

    assert per_s > 0.9 * 1e3 / timed.latency.host.p50_ms
    assert timed.latency.canary_ms > 0


def test_two_sessions_keep_a_bound_under_load_as_well_as_one(opener):
    load = ServingPlan(single_stream=SingleStream(), server=Server(p99_ms=20), offline=Offline())
    rates = []
    for sessions in (1, 2):
        with closing(opener()) as session:
            shown = serving.serve(replace(load, sessions=sessions), TIMING, "cuda", session, opener, FEEDS)
        print(f"\n{sessions}: {shown.measures} {shown.notes}")
        rates.append(shown.measures["server_per_s"])
        assert 0 < rates[-1] < 1.2 * shown.measures["offline_per_s"]

    assert rates[1] > 0.8 * rates[0]


def test_memory_of_the_gpu_is_told(opener):
    since = before(describe().gpus[0].uuid)
    with closing(opener()) as session:
        session.infer(FEEDS)
        found = taken(since)
    print(f"\n{found}")

    assert found["device_mib"] > 0
