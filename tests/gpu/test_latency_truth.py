"""The harness's latency against a hand-written CUDA-event loop on the same engine in the same process."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import pytest

from harness.backends.base import BuildSpec
from harness.backends.cuda import why_no_gpu
from harness.backends.tensorrt import TensorRT
from harness.records import LatencyPlan
from harness.sources.inspect import inspect
from harness.timing.loop import measure

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(TensorRT().why_not() is not None, reason=str(TensorRT().why_not()))]

ROOT = Path(__file__).parents[2]
MODELS = {
    "digits n=1": ("suites/digits/digits_cnn.onnx", {"n": 1}),
    "digits n=64": ("suites/digits/digits_cnn.onnx", {"n": 64}),
    "resnet50 n=8": ("suites/architectures/models/resnet50.onnx", {"n": 8}),
    "bert n=1 seq=128": ("suites/architectures/models/bert_base.onnx", {"n": 1, "seq": 128}),
}
PRECISIONS = ("fp32",)
PLAN = LatencyPlan(min_time_s=0.5, min_count=200)


def hand_written_p50_ms(engine, feeds, count):
    """Raw TensorRT and cuda-bindings; nothing of the harness."""
    import tensorrt as trt
    from cuda.bindings import runtime as cudart

    context = engine.create_execution_context()
    _, stream = cudart.cudaStreamCreate()
    held = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            value = np.ascontiguousarray(feeds[name].astype(trt.nptype(engine.get_tensor_dtype(name))))
            context.set_input_shape(name, value.shape)
            nbytes = value.nbytes
        else:
            value = None
            nbytes = int(np.prod(context.get_tensor_shape(name))) * 4
        _, address = cudart.cudaMalloc(nbytes)
        if value is not None:
            cudart.cudaMemcpy(address, value.ctypes.data, nbytes, cudart.cudaMemcpyKind.cudaMemcpyHostToDevice)
        context.set_tensor_address(name, int(address))
        held.append(address)
    cudart.cudaDeviceSynchronize()
    _, first = cudart.cudaEventCreate()
    _, second = cudart.cudaEventCreate()
    samples = []
    for _ in range(count + 50):
        cudart.cudaEventRecord(first, stream)
        context.execute_async_v3(int(stream))
        cudart.cudaEventRecord(second, stream)
        cudart.cudaEventSynchronize(second)
        samples.append(cudart.cudaEventElapsedTime(first, second)[1])
    for address in held:
        cudart.cudaFree(address)
    return statistics.median(samples[50:])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", MODELS)
def test_p50_agrees_with_a_hand_written_event_loop(name, precision, tmp_path):
    path, dims = ROOT / MODELS[name][0], MODELS[name][1]
    if not path.exists():
        pytest.skip(f"{path.name} is not exported: run suites/architectures/export.py")
    info = inspect(path)
    feeds = {}
    for tensor in info.inputs:
        shape = tuple(dims.get(dim, dim) for dim in tensor.dims)
        feeds[tensor.name] = np.ones(shape, dtype=tensor.dtype)
    shapes = {tensor.name: (feeds[tensor.name].shape,) * 3 for tensor in info.inputs}
    dtypes = {tensor.name: tensor.dtype for tensor in (*info.inputs, *info.outputs)}
    spec = BuildSpec("gpu/truth", path, precision, shapes, dtypes, {"optimization_level": 1})
    backend = TensorRT()
    session = backend.open(backend.build(spec, tmp_path), spec)
    try:
        session.infer(feeds)
        step = session.bind(feeds)
        ours, theirs = [], []
        for _ in range(5):  # in turns, so that both see the same clocks
            ours.append(measure(step, PLAN).gpu.p50_ms)
            theirs.append(hand_written_p50_ms(session._engine, feeds, 400))
    finally:
        session.close()
    harness_ms, hand_ms = statistics.median(ours), statistics.median(theirs)
    print(
        f"\n{name} {precision}: harness {harness_ms:.5f} ms, by hand {hand_ms:.5f} ms, ratio {harness_ms / hand_ms:.4f}"
    )
    assert harness_ms == pytest.approx(hand_ms, rel=0.02)


def test_a_gpu_is_here_or_the_reason_is_told():
    assert why_no_gpu() is None
