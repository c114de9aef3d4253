"""Contracts that hold for every backend, and how runtimes' own words are told apart."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from harness.backends import BACKENDS, worker_variables
from harness.backends import onnxruntime as ort
from harness.backends import onnxruntime_session as ort_session
from harness.backends import tensorrt as trt
from harness.backends.base import BuildSpec
from harness.errors import BuildError, DeviceError, DeviceMemory, HostMemory, InputError, Unsupported
from harness.records import PRECISIONS
from harness.suites import schema


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_tells_why_it_is_absent_or_its_versions(name):
    backend = BACKENDS.load(name)()

    reason = backend.why_not()

    assert backend.device in ("cpu", "cuda")
    assert reason is None or reason.strip()
    if reason is None:
        assert all(backend.versions().values())


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_has_its_options_in_the_schema(name):
    assert f'"{name}"' in str(schema()).replace("'", '"')


@pytest.mark.parametrize("precision", PRECISIONS)
def test_tf32_is_switched_off_for_the_provider_that_has_no_option_for_it(precision):
    expected = {} if precision == "tf32" else {"NVIDIA_TF32_OVERRIDE": "0"}

    assert worker_variables("onnxruntime-tensorrt", precision) == expected


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for Conv(22)", Unsupported),
        (
            "!node_provider_type.empty() was false. Provider type for MaxPool node with name 'x' is not set.",
            Unsupported,
        ),
        ("Fatal error: ai.onnx.preview.training:Gradient(-1) is not a registered function/op", Unsupported),
        (
            "[ONNXRuntimeError] : 1 : FAIL : Load model from m.onnx failed:/src/model.cc:186 Model(ModelProto&&) "
            "Unsupported model IR version: 14, max supported IR version: 13\n",
            Unsupported,
        ),
        (
            "[ONNXRuntimeError] : 1 : FAIL : Load model from m.onnx failed:/src/model_load_utils.h:46 "
            "ONNX Runtime only *guarantees* support for models stamped with official released onnx opset versions. "
            "Opset 27 is under development and support for this is limited.",
            Unsupported,
        ),
        (
            "[ONNXRuntimeError] : 1 : FAIL : Exception during initialization: rnn.h:45 layout_ == 0 was false. "
            "Batchwise recurrent operations (layout == 1) are not supported.",
            Unsupported,
        ),
        ("[ONNXRuntimeError] : 1 : FAIL : Load model from /is not supported/m.onnx failed:x", BuildError),
        ("CUDA failure 2: out of memory ; GPU=0", DeviceMemory),
        ("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc", HostMemory),
        ("Failed to allocate memory for requested buffer of size 99", HostMemory),
        ("CUDA failure 700: an illegal memory access was encountered", DeviceError),
        (
            "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from x.onnx failed:Protobuf parsing failed.",
            InputError,
        ),
        ("[ONNXRuntimeError] : 1 : FAIL : something else", BuildError),
        ("[ONNXRuntimeError] : 10 : INVALID_GRAPH : Load model from ops_not_implemented/m.onnx failed:x", InputError),
        (
            "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Non-zero status code. Name:'head is not supported/Gather'",
            InputError,
        ),
        ("CUDA failure 801: operation not supported ; GPU=0", DeviceError),
    ],
)
def test_what_onnxruntime_says_is_told_apart(words, kind):
    error = ort_session.translate(RuntimeError(words))

    assert type(error) is kind
    assert str(error).endswith(words)


def test_whose_memory_ran_out_is_that_of_the_session():
    error = ort_session.translate(RuntimeError("Failed to allocate memory for requested buffer of size 99"), "cuda")

    assert type(error) is DeviceMemory
    assert str(error).startswith("device memory: Failed")


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("In node 6 (importSlice): UNSUPPORTED_NODE: Assertion failed", Unsupported),
        (
            "ERROR: builtin_op_importers.cpp:4493 In function importSlice: [8] Assertion failed: ends.size()",
            Unsupported,
        ),
        ("(deserializeOnnxModel): MODEL_DESERIALIZE_FAILED: Assertion failed", InputError),
        ("[defaultAllocator.cpp] Error Code 1: Cuda Runtime (out of memory)", DeviceMemory),
        ("Requested amount of GPU memory (99 bytes) could not be allocated.", DeviceMemory),
        ("[builder.cpp] Error Code 2: std::bad_alloc", HostMemory),
        ("1: [runner.cpp] Error Code 1: Cuda Runtime (an illegal memory access was encountered)", DeviceError),
        ("10: Could not find any implementation for node conv1", BuildError),
        ("CUDA initialization failure with error: 803: system has unsupported display driver", DeviceError),
        ("In node 3 (parseNode): INVALID_NODE: Invalid Node - /unsupported_tokens/Gather", InputError),
        ("Error Code 4: API Usage Error (SUB must have same input types) Error Code 1: Cuda Runtime (35)", BuildError),
    ],
)
def test_what_tensorrt_says_is_told_apart(words, kind):
    assert type(trt.translate(RuntimeError("Invalid Engine"), deque([words]))) is kind


def test_the_most_specific_words_of_tensorrt_come_first():
    error = trt.translate(RuntimeError("Invalid Engine"), deque(["While parsing node number 6", "Assertion failed: x"]))

    assert str(error) == "Assertion failed: x | While parsing node number 6"


def cuda_session(providers, nodes):
    parts = [
        SimpleNamespace(ep_name=provider, get_nodes=lambda ops=ops: [SimpleNamespace(op_type=op) for op in ops])
        for provider, ops in nodes.items()
    ]
    return SimpleNamespace(get_providers=lambda: providers, get_provider_graph_assignment_info=lambda: parts)


CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def test_a_session_that_fell_back_to_another_provider_is_an_error():
    with pytest.raises(DeviceError, match="fell back to"):
        ort.Cuda()._check_provider(cuda_session([CPU], {}))


def test_a_convolution_left_to_the_cpu_is_an_error():
    with pytest.raises(BuildError, match="Conv on CPUExecutionProvider"):
        ort.Cuda()._check_provider(cuda_session([CUDA, CPU], {CUDA: ["Relu"], CPU: ["Conv", "Shape"]}))


def test_a_tensorrt_provider_that_leaves_products_to_cuda_is_an_error():
    providers = ["TensorrtExecutionProvider", CUDA, CPU]
    with pytest.raises(BuildError, match="MatMul on CUDAExecutionProvider"):
        ort.TensorRT()._check_provider(cuda_session(providers, {CUDA: ["MatMul"]}))


def test_shapes_worked_out_on_the_cpu_are_no_fallback():
    ort.Cuda()._check_provider(cuda_session([CUDA, CPU], {CUDA: ["Conv"], CPU: ["Shape", "Gather"]}))


def session_of(tmp_path, to, dims=("n", 4)):
    """A model that casts its float input to another type, opened on the CPU."""
    tensors = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, dims),
        helper.make_tensor_value_info("y", to, dims),
    ]
    graph = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["y"], to=to, name="cast")], "g", tensors[:1], tensors[1:]
    )
    path = tmp_path / "cast.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11), path)
    name = onnx.helper.tensor_dtype_to_np_dtype(to).name
    spec = BuildSpec("c", path, "fp32", {}, {"x": "float32", "y": name}, {})
    backend = ort.Cpu()
    return backend.open(backend.build(spec, tmp_path), spec)


@pytest.mark.parametrize("to", [TensorProto.FLOAT8E4M3FN, TensorProto.BFLOAT16, TensorProto.INT4])
def test_outputs_have_their_type_not_their_bits(tmp_path, to):
    outputs = session_of(tmp_path, to).infer({"x": np.array([[0, 1, 2, -4]], np.float32)})

    assert outputs["y"].dtype == helper.tensor_dtype_to_np_dtype(to)
    assert outputs["y"].astype(np.float32).tolist() == [[0, 1, 2, -4]]


def test_an_output_type_that_onnxruntime_cannot_make_is_refused(tmp_path):
    with pytest.raises(Unsupported):
        session_of(tmp_path, TensorProto.FLOAT4E2M1)


def test_strings_can_be_timed_although_they_cannot_be_bound(tmp_path):
    session = session_of(tmp_path, TensorProto.STRING)
    session.bind({"x": np.ones((1, 4), np.float32)}).run(2)

    text = np.array([["1", "2"]], dtype=object)
    tensors = [
        helper.make_tensor_value_info("x", TensorProto.STRING, [1, 2]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2]),
    ]
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT, name="cast")
    graph = helper.make_graph([node], "g", tensors[:1], tensors[1:])
    path = tmp_path / "text.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    spec = BuildSpec("c", path, "fp32", {}, {"x": "string", "y": "float32"}, {})
    session = ort.Cpu().open(ort.Cpu().build(spec, tmp_path), spec)
    session.bind({"x": text}).run(2)
    assert session.infer({"x": text})["y"].tolist() == [[1.0, 2.0]]
