"""Tensors on their way into ONNX Runtime and out of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.backends import onnxruntime as ort
from harness.backends.base import BuildSpec
from harness.backends.onnxruntime_values import from_ortvalue, is_native, to_ortvalue
from harness.inputs.dtypes import numpy_dtype
from harness.sources.inspect import dtype_code, dtype_name

FOREIGN = [
    name
    for code in TensorProto.DataType.values()
    if code not in (TensorProto.UNDEFINED, TensorProto.STRING)
    and not TensorProto.DataType.Name(code).startswith("FLOAT6")  # ONNX Runtime has no such tensors
    and not is_native(np.empty(0, numpy_dtype(name := dtype_name(code))))
]
"""The element types that ONNX has and NumPy lacks, in the installed versions."""
SHAPES = [(), (1,), (7,), (3, 5), (0, 2)]


def every_pattern(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a type that need its highest bits, made by the onnx package."""
    values = np.resize([-1.0, 1.0, 0.5, -2.0, 0.0], shape)
    return numpy_helper.to_array(helper.make_tensor("x", dtype_code(name), shape, values.ravel()))


def session(tmp_path, operator: str, code: int, shape: tuple[int, ...], result: int, *weights: Any):
    values = [helper.make_tensor_value_info("x", code, shape), helper.make_tensor_value_info("y", result, None)]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", *(w.name for w in weights)], ["y"])], "m", values[:1], values[1:], weights
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11), path)
    spec = BuildSpec("c", path, "fp32", {}, {}, {})
    return ort.Cpu().open(ort.Cpu().build(spec, tmp_path), spec)


def test_numpy_lacks_types_that_onnx_has():
    assert {"bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "uint4"} <= set(FOREIGN)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", FOREIGN)
def test_a_type_that_numpy_lacks_comes_out_as_it_went_in(name, shape):
    array = every_pattern(name, shape)

    value = to_ortvalue(array)
    back = from_ortvalue(value)

    assert value.element_type() == dtype_code(name)
    assert (back.dtype, back.shape) == (array.dtype, shape)
    np.testing.assert_array_equal(back.astype(np.float64), array.astype(np.float64))


@pytest.mark.parametrize("name", ["int4", "uint4", "float8_e4m3fn"])
def test_onnxruntime_computes_with_the_values_that_it_was_given(tmp_path, name):
    array = every_pattern(name, (3, 5))
    scale = numpy_helper.from_array(np.array(0.5, np.float32), "scale")
    opened = session(tmp_path, "DequantizeLinear", dtype_code(name), (3, 5), TensorProto.FLOAT, scale)

    assert opened.infer({"x": array})["y"].tolist() == (array.astype(np.float32) / 2).tolist()


def test_types_that_numpy_lacks_can_be_timed(tmp_path):
    opened = session(tmp_path, "Identity", TensorProto.BFLOAT16, (4,), TensorProto.BFLOAT16)

    opened.bind({"x": every_pattern("bfloat16", (4,))}).run(3)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
def test_a_scalar_input_has_no_axes(tmp_path, dtype):
    opened = session(tmp_path, "Shape", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), (), TensorProto.INT64)

    assert opened.infer({"x": np.ones((), dtype)})["y"].tolist() == []
