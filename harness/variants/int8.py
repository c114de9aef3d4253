"""int8: Q/DQ pairs around convolutions and matrix products, as TensorRT takes them."""

from __future__ import annotations

import math
import sys
import tempfile
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from harness.cache import Cache
from harness.errors import InputError, Unsupported, did_you_mean
from harness.inputs.dtypes import Array
from harness.inputs.feeds import Feeds, feeds, feeds_digest
from harness.inputs.files import read_array
from harness.inputs.given import GIVEN
from harness.inputs.prepared import calibrating, prepared
from harness.records import Calibration, InputSpec, Plan
from harness.sources import Fetched
from harness.sources.inspect import ModelInfo, TensorInfo
from harness.variants import Variant
from harness.variants.graph import finish, load_model, nodes, refuse_half, save
from harness.variants.store import Made, kept

PER_CHANNEL_OPSET = 13
"""From here on Q/DQ have an axis."""
BATCH = 32
"""Calibration rows that go through the model at once, where it leaves the choice."""
ROWS = 128
"""Rows enough to calibrate on, where the suite does not say how many."""
OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,  # TensorRT's parser refuses int32 Q/DQ
    "AddQDQPairToWeight": True,
    "DedicatedQDQPair": True,
    "OpTypesToExcludeOutputQuantization": list(OPERATORS),  # a pair between Conv and Relu would keep them apart
}


def int8(plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant:
    """The model quantised by onnxruntime: symmetric, weights per channel, biases in float.

    Ranges are minima and maxima over the plan's calibration data, or over inputs as the cases have (noted).
    """
    data, note = calibration_data(plan, fetched, info, cache)
    parts = (fetched.sha256, "int8/1", data.digest)
    return kept(plan.case.precision, parts, cache, lambda: _make(fetched.model, data, note))


def _make(path: Path, data: Feeds, note: str) -> Made:
    original, notes = load_model(path, at_least=PER_CHANNEL_OPSET)
    _refuse(original)
    refuse_half("int8", original)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save(original, folder, "original")
        _infer_shapes(folder / "original.onnx", folder / "inferred.onnx")
        _quantise(folder / "inferred.onnx", folder / "int8.onnx", data, _per_tensor(original))
        model = onnx.load(str(folder / "int8.onnx"))
    _restore_attributes(model, original)
    finish(model, path)
    return model, (*notes, note, _checked(model))


def _refuse(model: Any) -> None:
    ops = {node.op_type for node in nodes(model)}
    if "QuantizeLinear" in ops or "DequantizeLinear" in ops:
        raise Unsupported("cannot make the int8 variant: the model is quantised already; use precision as-is")
    if ops.isdisjoint(OPERATORS):
        raise Unsupported(f"cannot make the int8 variant: the model has none of {', '.join(OPERATORS)}")


def _infer_shapes(source: Path, target: Path) -> None:
    # No optimisation: the variant keeps the model's tensors, so that it can be compared with it tensor by tensor.
    options: dict[str, Any] = {"skip_optimization": True, "save_as_external_data": source.with_suffix(".data").exists()}
    with hidden("torch"), suppress(ImportError):  # where PyTorch is installed its tools would bring it in, for nothing
        import onnxruntime.tools.symbolic_shape_infer  # noqa: F401
    try:
        quant_pre_process(source, target, **options)
    except Exception:  # symbolic inference gives up on what it does not know, plain inference does not
        quant_pre_process(source, target, skip_symbolic_shape=True, **options)


@contextmanager
def hidden(package: str) -> Iterator[None]:
    """A package that is not imported yet is as if it were not installed; what is imported stays."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment] # so says the documentation of `import`
    try:
        yield
    finally:
        del sys.modules[package]


def _per_tensor(model: Any) -> dict[str, Any]:
    """Quantiser overrides for constants of matrix products whose channels are not the columns of a matrix."""
    constants = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    names = {node.input[0] for node in products} | {
        node.input[1] for node in products if constants.get(node.input[1]) != 2
    }
    return {
        name: [{"quant_type": quantization.QuantType.QInt8, "symmetric": True}] for name in sorted(names & {*constants})
    }


def _restore_attributes(model: Any, original: Any) -> None:
    # The quantiser sets beta of every Gemm to 1 as if it had put it into a quantised bias, which it does not do here.
    before = {node.name: node for node in nodes(original)}
    for node in model.graph.node:
        if node.op_type in OPERATORS:
            del node.attribute[:]
            node.attribute.extend(before[node.name].attribute)


def _quantise(source: Path, target: Path, data: Feeds, overrides: Mapping[str, Any]) -> None:
    quantization.quantize_static(
        source,
        target,
        _reader(iter(data.batches)),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=list(OPERATORS),
        per_channel=True,
        activation_type=quantization.QuantType.QInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=quantization.CalibrationMethod.MinMax,
        use_external_data_format=source.with_suffix(".data").exists(),
        extra_options={**OPTIONS, "TensorQuantOverrides": dict(overrides)},
    )


def _reader(batches: Iterator[dict[str, Array]]) -> Any:
    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc] # untyped base
        def get_next(self) -> dict[str, Array] | None:
            return next(batches, None)

    return Reader()


def _checked(model: Any) -> str:
    """A note on what was quantised; ValueError when the result is not what TensorRT takes."""
    stored: Mapping[str, Any] = {tensor.name: tensor for tensor in model.graph.initializer}
    dequantised = set()
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = stored[node.input[2]] if len(node.input) > 2 else None
            if zero is not None and (zero.data_type != TensorProto.INT8 or np.any(numpy_helper.to_array(zero))):
                raise ValueError(f"the quantiser gave '{node.name}' a zero point that is not an int8 zero")
            dequantised.update(node.output)
    wanted = [node for node in model.graph.node if node.op_type in OPERATORS]
    done = [node for node in wanted if {*node.input[:2]} <= dequantised]
    if not done:
        raise Unsupported(f"cannot make the int8 variant: the quantiser took none of {', '.join(OPERATORS)}")
    return f"{len(done)} of {len(wanted)} {', '.join(sorted({node.op_type for node in wanted}))} nodes are int8"


# --- calibration data ---------------------------------------------------------------------------------------------


def calibration_data(plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> tuple[Feeds, str]:
    """The rows that show a variant what inputs are like, and where they come from in words."""
    if plan.calibration is None:
        return _own_inputs(plan, fetched, info, cache), "no calibration data: calibrated on inputs of the model's cases"
    tensor = _calibrated_input(plan.calibration, info)
    spec = _asked(plan, plan.calibration, tensor)
    where = Path(plan.calibration.raw or plan.calibration.file or "")
    held = read_array(where, spec.key) if spec.preparation is None else prepared(spec, plan, cache)
    rows = min(plan.calibration.samples, len(np.atleast_1d(held)))
    first = tensor.dims[0] if tensor.dims else None
    batch = first if isinstance(first, int) else min(BATCH, rows)
    rows -= rows % batch if isinstance(first, int) and batch else 0
    if rows == 0:
        raise InputError(f"{where}: holds fewer rows than a batch of {batch}; give more calibration data")
    inputs = {
        other.name: _first(_as_calibrated(plan.inputs[other.name], plan, tensor, spec), other, rows)
        for other in info.inputs
        if other.name in plan.inputs
    }
    inputs[tensor.name] = replace(spec, slice=(0, rows))
    # Only the calibration data decides on its dimensions: every shape of the model gets the same variant.
    dims = {name: size for name, size in plan.dimensions.items() if name not in (tensor.dims or ())}
    dims |= {first: batch} if isinstance(first, str) else {}
    data = feeds(replace(plan, inputs=inputs, dimensions=dims, task=None), info, (), cache)
    return data, f"calibrated on {rows} rows of {where.name}"


def _asked(plan: Plan, calibration: Calibration, tensor: TensorInfo) -> InputSpec:
    """The calibration data as an input; raw files are prepared as the input's own are."""
    if calibration.raw is None:
        return InputSpec("file", file=calibration.file, key=calibration.key)
    own = plan.inputs.get(tensor.name)
    if own is None or own.preparation is None:
        raise InputError(f"int8.calibration: `raw` is prepared as '{tensor.name}' is, which is made from no raw files")
    return replace(own, slice=None, preparation=calibrating(own.preparation, calibration.raw, plan))


def _as_calibrated(spec: InputSpec, plan: Plan, tensor: TensorInfo, asked: InputSpec) -> InputSpec:
    """An input that the same raw files feed as the calibrated one takes the calibration's as well."""
    if asked.preparation is None or spec.preparation != plan.inputs[tensor.name].preparation:
        return spec
    return replace(spec, slice=None, preparation=asked.preparation)


def _own_inputs(plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Feeds:
    """The first batches of the model's largest shape, so that every shape gets the same variant."""
    largest = max(plan.shapes, key=lambda shape: math.prod(shape.values()), default=plan.dimensions)
    made = feeds(replace(plan, dimensions=largest, task=None), info, fetched.test_sets, cache)
    sizes = [max((len(array) for array in batch.values() if array.ndim), default=1) for batch in made.batches]
    enough = bisect_left(list(accumulate(sizes)), ROWS) + 1
    batches = made.batches[:enough]
    return Feeds(batches, feeds_digest(batches), made.notes)


def _calibrated_input(calibration: Calibration, info: ModelInfo) -> TensorInfo:
    names = [tensor.name for tensor in info.inputs]
    if calibration.input is None and len(names) != 1:
        raise InputError(f"int8.calibration: `input` must say which of {', '.join(names) or 'no inputs'} it feeds")
    name = names[0] if calibration.input is None else calibration.input
    if name not in names:
        raise InputError(f"int8.calibration: the model has no input '{name}'{did_you_mean(name, names)}")
    return info.inputs[names.index(name)]


def _first(spec: InputSpec, tensor: TensorInfo, rows: int) -> InputSpec:
    """The same input, but of its file only as many rows as there are calibration rows; a table stays whole."""
    first = tensor.dims[0] if tensor.dims else 0
    if spec.kind not in GIVEN or (isinstance(first, int) and rows <= first) or not tensor.dims:
        return spec
    start, _, step = (*spec.slice, None)[:3] if spec.slice else (0, None, None)
    return replace(spec, slice=(start or 0, (start or 0) + rows * (step or 1), step))
