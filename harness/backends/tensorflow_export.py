"""TensorFlow and Keras models as ONNX files, by tf2onnx, and what TensorFlow computes of them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from harness.backends.base import BuildSpec, Feeds, Tensor
from harness.backends.exported_file import check_opset, plain, save, versions
from harness.backends.factories import SAME
from harness.backends.tensorflow_model import EXTRA, Model, load, tensorflow, why_no_tensorflow
from harness.errors import BuildError, InputError, Unsupported
from harness.records import Source
from harness.sources.walk import nodes

PACKAGES = ("tensorflow", "keras", "tf2onnx", "onnx")
"""What takes part in an export."""


class TensorFlowExporter:
    """TensorFlow, as what ONNX files are exported from and compared with; on the CPU."""

    recipe = 1

    def why_not(self) -> str | None:
        """Why it cannot be used here: TensorFlow or tf2onnx is not installed."""
        return why_no_tensorflow()

    def why_not_run(self) -> str | None:
        """What exports it also runs."""
        return None

    def versions(self) -> dict[str, str]:
        """Versions of TensorFlow, Keras and tf2onnx."""
        return {name: found for name, found in self.packages().items() if name != "onnx"}

    def packages(self) -> dict[str, str]:
        """Versions of what takes part in an export."""
        return {"tensorflow": str(tensorflow().__version__), **versions(PACKAGES[1:], EXTRA)}

    def load(self, source: Source) -> Model:
        """The model of a source that the command line allows."""
        return load(source)

    def write(self, model: Model, source: Source, folder: Path) -> None:
        """The model as an ONNX file in a folder."""
        opset = source.export.opset if source.export else 0
        made = _converted(model, opset)
        check_opset(made, opset, "tf2onnx")
        _check_operators(made)
        _name(made, model)
        save(plain(made), folder)

    def open(self, spec: BuildSpec) -> _Eager:
        """The model that was exported, run eagerly."""
        if spec.source is None:
            raise Unsupported("TensorFlow runs no ONNX files")
        model = load(spec.source)
        if model.weights != spec.weights:
            raise InputError(f"{spec.source.path}: made other weights than those that were exported: {SAME}")
        return _Eager(model)


class _Eager:
    """Runs the model as it is, not the graph that was converted."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def infer(self, feeds: Feeds) -> dict[str, Tensor]:
        """Outputs by name."""
        tf = tensorflow()
        given = [tf.constant(np.array(feeds[name])) for name in self._model.dims]
        try:
            return {name: np.array(value.numpy()) for name, value in self._model.run(*given).items()}
        except tf.errors.OpError as error:
            raise BuildError(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Nothing is held."""


def _converted(model: Model, opset: int) -> Any:
    import tf2onnx

    try:
        made, _ = tf2onnx.convert.from_function(
            model.traced, model.traced.input_signature, opset=opset, custom_op_handlers={"Erfc": (_erfc, [])}
        )
    except Exception as error:
        if "is not supported yet" in str(error):
            raise Unsupported(f"tf2onnx: {error}; choose another `export: {{opset: …}}`") from error
        raise BuildError(f"tf2onnx cannot convert the model: {type(error).__name__}: {error}") from error
    return made


def _erfc(graph: Any, node: Any, name: str, _: Any) -> None:
    """1 - Erf, which ONNX has: Keras' gelu is made of Erfc, and tf2onnx does not know it."""
    dtype = onnx.helper.tensor_dtype_to_np_dtype(graph.get_dtype(node.input[0]))
    one = graph.make_const(f"{name}_one", np.ones((), dtype))
    erf = graph.make_node("Erf", node.input)
    graph.remove_node(name)
    graph.make_node("Sub", [one.output[0], erf.output[0]], name=name, outputs=node.output)


def _check_operators(made: Any) -> None:
    """Unsupported where tf2onnx left operators of TensorFlow in the file: those that it does not know."""
    unknown = {node.op_type for node in nodes(made) if node.domain == "" and not onnx.defs.has(node.op_type)}
    if unknown:
        raise Unsupported(f"tf2onnx does not convert these operators of TensorFlow: {', '.join(sorted(unknown))}")


def _name(made: Any, model: Model) -> None:
    """Inputs and outputs in the model's order, with the names of the suite for axes that are free."""
    _order(made.graph.input, list(model.dims))
    _order(made.graph.output, list(model.traced.get_concrete_function().structured_outputs))
    made.doc_string = made.graph.doc_string = ""
    del made.graph.value_info[:]
    for value in made.graph.input:
        value.type.tensor_type.ClearField("shape")
        for dim in model.dims[value.name]:
            value.type.tensor_type.shape.dim.add(**{"dim_param" if isinstance(dim, str) else "dim_value": dim})
    _forget(made.graph.output, frozenset())
    inferred = onnx.shape_inference.infer_shapes(made, data_prop=True).graph.output
    _forget(inferred, {dim for dims in model.dims.values() for dim in dims if isinstance(dim, str)})
    del made.graph.output[:]
    made.graph.output.extend(inferred)


def _forget(values: Any, known: Collection[str]) -> None:
    """Leave out names of axes that only count what is unknown."""
    for value in values:
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param not in known:
                axis.ClearField("dim_param")


def _order(values: Any, names: list[str]) -> None:
    by_name = {value.name: value for value in values}
    ordered = [by_name[name] for name in names]
    del values[:]
    values.extend(ordered)
