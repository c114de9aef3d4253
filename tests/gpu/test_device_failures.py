"""What a GPU, a lost context and too little memory are told to be, and what they cost a run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from harness.backends import BACKENDS, cuda_health
from harness.backends.base import Artefact, BuildSpec
from harness.backends.cuda import check, runtime
from harness.backends.tensorrt import TensorRT
from harness.errors import DeviceError, DeviceMemory
from harness.store import read_run
from models import conv_net
from toy import harness

ABSENT = TensorRT().why_not()
CUDA_ABSENT = BACKENDS.load("onnxruntime-cuda")().why_not()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(ABSENT is not None, reason=str(ABSENT))]

TESTS = Path(__file__).parents[1]
DIGITS = Path(__file__).parents[2] / "suites/digits/digits_cnn.onnx"
LEFT_BYTES = 256 << 20


def python(code: str) -> str:
    """What a process of its own prints: it may lose its context."""
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS / "gpu"), *sys.path])},
    )  # fmt: skip
    return found.stdout.strip()


@contextmanager
def full_gpu() -> Iterator[None]:
    """While this holds, next to nothing of the GPU's memory is free."""
    free, _ = check(runtime().cudaMemGetInfo())
    held = check(runtime().cudaMalloc(free - LEFT_BYTES))
    try:
        yield
    finally:
        check(runtime().cudaFree(held))


def test_a_healthy_gpu_passes_its_probe():
    for _ in range(2):
        cuda_health.probe()

    assert cuda_health.why_lost() is None


def test_no_context_is_made_to_see_that_there_is_none():
    asked = "from harness.backends.cuda_health import why_lost, _has_context; print(why_lost(), _has_context())"

    assert python(asked) == "None False"


def test_an_error_that_does_not_stay_loses_no_context():
    with pytest.raises(DeviceError, match="cudaErrorInvalid"):
        check(runtime().cudaMemcpy(0, 16, 4, runtime().cudaMemcpyKind.cudaMemcpyDeviceToDevice))

    assert cuda_health.why_lost() is None


def test_a_write_to_nowhere_loses_the_context_of_its_process_alone():
    code = "from spoil import spoil; from harness.backends.cuda_health import why_lost; spoil(); print(why_lost())"

    said = python(code)

    assert said == "a sticky CUDA error, cudaErrorIllegalAddress: the context of this process is lost"
    cuda_health.probe()


def test_an_allocation_without_room_is_of_device_memory():
    _, total = check(runtime().cudaMemGetInfo())

    with pytest.raises(DeviceMemory, match="device memory: CUDA call failed: cudaErrorMemoryAllocation"):
        check(runtime().cudaMalloc(2 * total))
    assert cuda_health.why_lost() is None


def test_an_engine_whose_context_has_no_room_is_refused_before_it_is_made(tmp_path):
    rows = 1 << 17
    shapes = {"image": ((1, 1, 8, 8), (rows, 1, 8, 8), (rows, 1, 8, 8))}
    spec = BuildSpec("gpu/room", DIGITS, "fp32", shapes, {"image": "float32", "logits": "float32"}, {})
    backend = TensorRT()
    artefact = backend.build(spec, tmp_path)
    backend.open(artefact, spec).close()

    with (
        full_gpu(),
        pytest.raises(DeviceMemory, match=r"needed \(an execution context of the engine \d+ MiB\)") as said,
    ):
        backend.open(artefact, spec)
    print(said.value)
    backend.open(artefact, spec).close()


@pytest.mark.skipif(CUDA_ABSENT is not None, reason=str(CUDA_ABSENT))
def test_a_model_whose_weights_have_no_room_is_refused_before_it_is_loaded(tmp_path):
    weights = numpy_helper.from_array(np.zeros((1024, 1 << 17), np.float32), "w")  # 512 MiB
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", None]) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "large", [x], [y], [weights])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "large.onnx")
    spec = BuildSpec("gpu/room", tmp_path / "large.onnx", "fp32", {}, {}, {})

    with full_gpu(), pytest.raises(DeviceMemory, match=r"needed \(the model's weights 512 MiB\)"):
        BACKENDS.load("onnxruntime-cuda")().open(Artefact(tmp_path / "large.onnx"), spec)


SUITE = """
suite: planted
environments:
  planted: {}
models:
  - name: net
    source: net.onnx
    backends: [tensorrt@planted]
    precisions: [fp32]
    shapes: [{n: 4}, {n: 6}, {n: 8}]
    latency: {min_time_s: 0.05}
"""
PLANT = """
from harness.backends.tensorrt_session import TensorRTSession
from spoil import spoil

real = TensorRTSession.infer


def infer(self, feeds):
    found = real(self, feeds)
    if next(iter(feeds.values())).shape[0] == 6:
        spoil()
    return found


TensorRTSession.infer = infer
"""


def test_an_engine_that_corrupts_its_context_costs_one_case(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "plant").mkdir()
    (tmp_path / "plant/sitecustomize.py").write_text(PLANT)
    (tmp_path / "suite.yaml").write_text(SUITE)
    onnx.save(conv_net(), tmp_path / "net.onnx")
    program = tmp_path / "python"
    places = os.pathsep.join(["$PYTHONPATH", str(tmp_path / "plant"), str(TESTS / "gpu"), *filter(None, sys.path)])
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{places}" exec {sys.executable} "$@"\n')
    program.chmod(0o755)

    status = harness(tmp_path, "run", "suite.yaml", "-o", "out", "--environment", f"planted={program}")

    spoiled, *others = sorted(read_run(tmp_path / "out").records, key=lambda one: one.case.shape != "n-6")
    print(spoiled.headline, spoiled.error)
    assert status == 3
    assert [one.status for one in others] == ["new", "new"]
    assert spoiled.error.kind == "device"
    assert "cudaErrorIllegalAddress" in spoiled.error.message
