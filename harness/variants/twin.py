"""The precision twin of a variant: the same file with its rounding made explicit, in float32 arithmetic.

A runtime may compute a half-precision file in float32 (ONNX Runtime's CPU provider does), which hides what rounding
costs and where it overflows. In the twin every tensor of a half type is float32 and rounded by a pair of Casts right
after the operator that made it; for tf32 the operands of products are rounded to its 11-bit significand. Files
without half types (fp32, Q/DQ) are their own twin. The noisy twin moves each result by up to one unit roundoff before
it is rounded: what it gives differs from the twin as healthy evaluations of the file differ from each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness.errors import Unsupported
from harness.sources.walk import tensors
from harness.variants.facts import declared_types, folded, quantised, summed
from harness.variants.graph import STANDARD, graphs, nodes, subgraphs
from harness.variants.operators import EXACT, LANES, PRODUCTS, RECURRENT, TRANSCENDENTAL, decides_shapes
from harness.variants.scopes import own_names

FLOAT, FLOAT16, BFLOAT16 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16
ROUNDOFF: dict[int, float] = {FLOAT: 2.0**-24, FLOAT16: 2.0**-11, BFLOAT16: 2.0**-8}
"""Half the distance from 1 to the next number: the largest relative error of one rounding (IEEE 754)."""
TF32_ROUNDOFF = 2.0**-11
QUANTISED_ROUNDOFF = 2.0**-11
"""Of the floats between quantised operators: kernels round biases to the scale of their sums and keep halves."""
SPLITTER = 2.0**13 + 1
"""Dekker's constant that leaves 11 of float32's 24 bits."""
ONE_BIT = 2.0**23 + 1
"""As `SPLITTER`, leaving one."""
RANDOM_OPSET = 21
"""Later opsets changed the types that operators take, and ONNX Runtime has no random numbers for them yet."""
LEAST_NORMAL = 2.0**-14
"""Of fp16."""
LARGE = 1e38
"""Noise is added to at most this much, so that an infinity stays one."""

FAST_ROUNDOFF = 2.0**-18
"""Of transcendental functions: CUDA's __expf errs by 2 + |1.173 x| ulp (CUDA C++ Programming Guide), 31 at x = 25."""


def twin(
    model: Any, precision: str, *, noise: float = 0.0, cut: bool = False, counts: Mapping[str, float] | None = None
) -> Any:
    """The twin of a variant, changed in place; with `noise` (in units of roundoff) each run gives another evaluation.

    With `cut`, operands lose the bits that TF32 lacks instead of being rounded to it, as in tensor cores. `counts` are
    the elements of tensors, where the file leaves sizes open.

    The model comes from `harness.variants.graph.load_model`: shapes inferred, nodes named. Raises Unsupported where a
    half type cannot be told.
    """
    own_names(model)
    _refuse_unknown(model)
    rounding = _Rounding(
        declared_types(model),
        precision,
        noise,
        quantised(model),
        decides_shapes(model),
        folded(model),
        summed(model, counts or {}),
        cut,
    )
    _widen(model)
    for graph in graphs(model.graph):
        rounding.apply(graph)
    if noise:
        _lower_opset(model)
        rounding.shake_inputs(model.graph)
    return model


class _Rounding:
    """Puts rounding, and noise where asked, behind the nodes of a graph; tensor types are those before widening."""

    def __init__(
        self,
        types: dict[str, int],
        precision: str,
        noise: float,
        quantised: set[str],
        still: set[str],
        folded: set[str],
        summed: dict[str, float],
        cut: bool,
    ) -> None:
        self._types, self._precision, self._noise = types, precision, noise
        self._quantised, self._still, self._folded, self._cut = quantised, still, folded, cut
        self._summed = summed
        self._seeds = count(1)

    def apply(self, graph: Any) -> None:
        """Rewrite the nodes of one graph."""
        made: list[Any] = []
        for node in list(graph.node):
            if self._precision == "tf32" and node.op_type in PRODUCTS:
                made += self._shorten(node)
            if self._noise and node.name in self._folded:
                made += self._shake_weights(node)
            after = [new for position, name in enumerate(node.output) for new in self._behind(node, position, name)]
            made += [node, *after]
        del graph.node[:]
        graph.node.extend(made)

    def shake_inputs(self, graph: Any) -> None:
        """Noise on the inputs of the model, one float32 rounding: products add up in another order."""
        names = [value.name for value in graph.input if self._types.get(value.name) == FLOAT]
        renamed = {name: f"{name}/shaken" for name in names if name not in self._still}
        for node in graph.node:
            _rename_reads(node, renamed)
        shaken = [new for name, to in renamed.items() for new in self._shake(name, to, ROUNDOFF[FLOAT])]
        then = list(graph.node)
        del graph.node[:]
        graph.node.extend([*shaken, *then])

    def _behind(self, node: Any, position: int, name: str) -> Iterator[Any]:
        kind = self._types.get(name)
        if not name or kind not in ROUNDOFF or (node.op_type in EXACT and not _makes_half(node, kind)):
            return
        shaken = self._noise and name not in self._still  # also a Cast to half, which a runtime may leave out
        if kind == FLOAT and not shaken:
            return
        node.output[position] = last = f"{name}/exact"
        if shaken:
            to = name if kind == FLOAT else f"{name}/moved"
            yield from self._shake(last, to, self._size(node.op_type, name), kind)
            last = to
        if kind != FLOAT:
            yield helper.make_node("Cast", [last], [f"{name}/half"], f"{name}/round", to=kind)
            yield helper.make_node("Cast", [f"{name}/half"], [name], f"{name}/widen", to=FLOAT)

    def _size(self, op: str, name: str) -> float:
        """The roundoff of what an operator gives."""
        plain = max(ROUNDOFF[self._types[name]], QUANTISED_ROUNDOFF if name in self._quantised else 0.0)
        if op in RECURRENT:
            return 2 * max(FAST_ROUNDOFF, plain)  # they also round the state that they keep
        sums = ROUNDOFF[FLOAT] * max(1.0, math.sqrt(self._summed.get(name, 1.0) / LANES))
        return max(FAST_ROUNDOFF if op in TRANSCENDENTAL else 0.0, plain, sums)

    def _shake_weights(self, node: Any) -> list[Any]:
        """Noise on the weights of a product, which a runtime may fold with what follows and round once more."""
        name, to = node.input[1], f"{node.name}/weights"
        kind = self._types.get(name)
        if kind not in ROUNDOFF:
            return []
        node.input[1] = to
        return [*self._shake(name, to, ROUNDOFF[kind], kind)]

    def _shake(self, source: str, target: str, roundoff: float, kind: int = FLOAT) -> Iterator[Any]:
        """target = source + max(|clip(source)|, least normal number) * uniform(-roundoff, roundoff).

        Below the least normal number of fp16 the distance between numbers no longer shrinks with them.
        """
        size = self._noise * roundoff
        seed = float(next(self._seeds))
        yield _constant(f"{target}/low", -LARGE)
        yield _constant(f"{target}/high", LARGE)
        yield _node("Clip", [source, f"{target}/low", f"{target}/high"], f"{target}/bounded")
        yield _node("RandomUniformLike", [source], f"{target}/random", low=-size, high=size, seed=seed, dtype=FLOAT)
        bounded = f"{target}/bounded"
        if kind == FLOAT16:
            yield _constant(f"{target}/least", LEAST_NORMAL)
            yield _node("Abs", [bounded], f"{target}/size")
            yield _node("Max", [f"{target}/size", f"{target}/least"], bounded := f"{target}/scale")
        yield _node("Mul", [bounded, f"{target}/random"], f"{target}/noise")
        yield _node("Add", [source, f"{target}/noise"], target)

    def _shorten(self, node: Any) -> list[Any]:
        """Rounds the operands of a product to TF32 by Dekker's splitting (Numerische Mathematik 18, 1971)."""
        made: list[Any] = []
        for position in range(min(2, len(node.input)) if node.op_type != "Einsum" else len(node.input)):
            name, to = node.input[position], f"{node.name}/operand{position}"
            if self._types.get(name) != FLOAT:
                continue
            if self._noise:  # hardware may cut where the twin rounds
                made += self._shake(name, f"{to}/moved", TF32_ROUNDOFF)
                name = f"{to}/moved"
            if self._cut:
                made += _half_less(name, f"{to}/less")
                name = f"{to}/less"
            made += _split(name, to, SPLITTER)
            node.input[position] = to
        return made


def _split(source: str, target: str, splitter: float) -> list[Any]:
    """target = source rounded to fewer bits, by Dekker's splitting."""
    return [
        _constant(f"{target}/splitter", splitter),
        _node("Mul", [source, f"{target}/splitter"], f"{target}/scaled"),
        _node("Sub", [f"{target}/scaled", source], f"{target}/rest"),
        _node("Sub", [f"{target}/scaled", f"{target}/rest"], target),
    ]


def _half_less(source: str, target: str) -> list[Any]:
    """target = source, nearer to zero by just under half a unit in TF32's last place: rounding it cuts the source.

    Three quarters of a number, rounded to one bit, are the power of two at or below it.
    """
    return [
        _constant(f"{target}/quarters", 0.75),
        _node("Mul", [source, f"{target}/quarters"], f"{target}/lower"),
        *_split(f"{target}/lower", f"{target}/power", ONE_BIT),
        _constant(f"{target}/half", TF32_ROUNDOFF * (1 - TF32_ROUNDOFF)),
        _node("Mul", [f"{target}/power", f"{target}/half"], f"{target}/by"),
        _node("Sub", [source, f"{target}/by"], target),
    ]


def _lower_opset(model: Any) -> None:
    """Declares the newest opset for which ONNX Runtime draws random numbers, where all nodes mean the same there."""
    for entry in model.opset_import:
        standard = (node for node in nodes(model) if node.domain in STANDARD)
        if entry.domain in STANDARD and entry.version > RANDOM_OPSET and all(map(_is_older, standard)):
            entry.version = RANDOM_OPSET


def _is_older(node: Any) -> bool:
    try:
        schema = onnx.defs.get_schema(node.op_type, RANDOM_OPSET)
    except onnx.defs.SchemaError:
        return False
    return {attribute.name for attribute in node.attribute} <= {*schema.attributes}


def _node(op: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    name = f"{output}/made"  # many models name their nodes by what these give
    return helper.make_node(op, inputs, [output], name, **attributes)


def _constant(name: str, value: float) -> Any:
    return helper.make_node("Constant", [], [name], name, value=numpy_helper.from_array(np.array(value, np.float32)))


def _makes_half(node: Any, kind: int) -> bool:
    """Whether an operator that adds no error of its own still rounds, because it changes the type."""
    return kind != FLOAT and node.op_type in ("Cast", "CastLike", "DequantizeLinear")


def _rename_reads(node: Any, renamed: dict[str, str]) -> None:
    for position, name in enumerate(node.input):
        node.input[position] = renamed.get(name, name)
    for graph in subgraphs(node):
        for inner in graph.node:
            _rename_reads(inner, renamed)


def _refuse_unknown(model: Any) -> None:
    """Half types behind an operator that onnx cannot look into would be mistaken."""
    types = declared_types(model)
    half = {FLOAT16, BFLOAT16} & {*types.values(), *(tensor.data_type for tensor in tensors(model))}
    unknown = sorted({node.op_type for node in nodes(model) for name in node.output if name and not types.get(name)})
    if half and unknown:
        raise Unsupported(f"the types of what {', '.join(unknown)} gives are not known to onnx")


def _widen(model: Any) -> None:
    """Makes every half type float32, in stored tensors, attributes and declared types; values stay what they are."""
    for tensor in tensors(model):
        if tensor.data_type in (FLOAT16, BFLOAT16):
            name, values = tensor.name, _values(tensor)
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype", "output_dtype") and attribute.i in (FLOAT16, BFLOAT16):
                attribute.i = FLOAT
    for graph in graphs(model.graph):
        for value in (*graph.input, *graph.output):
            kind = value.type.tensor_type
            if kind.elem_type in (FLOAT16, BFLOAT16):
                kind.elem_type = FLOAT
        del graph.value_info[:]


def _values(tensor: Any) -> np.ndarray[Any, Any]:
    if tensor.data_type == BFLOAT16 and tensor.HasField("raw_data"):
        return np.frombuffer(tensor.raw_data, ml_dtypes.bfloat16).reshape(tuple(tensor.dims))
    return numpy_helper.to_array(tensor)
