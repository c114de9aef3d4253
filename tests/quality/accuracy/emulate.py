"""Graphs that compute in fp32 what other arithmetic gives: every node rounded, TF32, sums in parts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from quality.accuracy.edits import PRODUCTS, Array, Graph, attribute, set_attribute, store, values

HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
MOVES = frozenset(
    (
        *("Reshape", "Transpose", "Gather", "Slice", "Concat", "Split", "Squeeze", "Unsqueeze", "Flatten", "Identity"),
        *("Relu", "MaxPool", "Clip", "Where", "Expand"),
    )
)
"""Operators whose results are values that they were given: nothing is rounded."""
SMOOTH = ("Erf", "Exp", "Log", "Tanh", "Sigmoid", "Softmax", "LSTM", "GRU", "GlobalAveragePool", "ReduceMean")
"""Operators beside products whose last bits differ between kernels."""


def explicit(model: ModelProto, rounds: Callable[[NodeProto], bool] = lambda _: True) -> ModelProto:
    """The variant as an fp32 graph: half-precision weights widened, results of the nodes `rounds` rounded by casts.

    Without any rounding it is what a runtime computes that has no kernels in half precision; rounding only the results
    of products and normalisations is what a compiler computes that fuses the rest into them.
    """
    made = Graph(model)
    types = made.types
    for tensor in made.graph.initializer:
        if tensor.data_type in HALF:
            wide = values(tensor)
            tensor.data_type = TensorProto.FLOAT
            store(tensor, wide)
    for node in list(made.graph.node):
        _widen(made, node, types, rounds)
    return made.model()


def fused(model: ModelProto) -> ModelProto:
    """The variant as an fp32 graph, rounded where a compiler that fuses writes to memory: before each product."""
    made = Graph(explicit(model, lambda _: False))
    halves = {tensor.data_type for tensor in model.graph.initializer if tensor.data_type in HALF}
    for node in made.nodes(*PRODUCTS, "LSTM", "GRU"):
        for half in halves:
            node.input[0] = rounded(made, node.input[0], half)
    return made.model()


def wide(model: ModelProto) -> ModelProto:
    """The variant as an fp32 graph that rounds nothing but weights and casts."""
    return explicit(model, lambda _: False)


def _widen(made: Graph, node: NodeProto, types: dict[str, int], rounds: Callable[[NodeProto], bool]) -> None:
    for one in node.attribute:
        if one.name == "value" and one.t.data_type in HALF:
            wider = values(one.t)
            one.t.data_type = TensorProto.FLOAT
            store(one.t, wider)
    for number, name in enumerate(list(node.output)):
        half = types.get(name, 0)
        if half not in HALF or node.op_type in (*MOVES, "Constant"):
            continue
        if node.op_type == "Cast":
            made.after(node, lambda x: made.op("Cast", x, to=TensorProto.FLOAT))
        elif rounds(node):
            made.after(node, lambda x, half=half: rounded(made, x, half), number)  # type: ignore[misc]


def rounded(made: Graph, x: str, half: int) -> str:
    """x rounded to a half-precision type, as float32."""
    return made.op("Cast", made.op("Cast", x, to=half), to=TensorProto.FLOAT)


def tf32(model: ModelProto) -> ModelProto:
    """The fp32 graph with the factors of every product rounded to TF32's 11 bits, by Veltkamp's splitting."""
    made = Graph(model)
    for node in made.nodes(*PRODUCTS):
        for slot in (0, 1):
            node.input[slot] = _short(made, node.input[slot], 13)
    return made.model()


def integer_bias(model: ModelProto) -> ModelProto:
    """The Q/DQ graph with each bias rounded to the scale of its integer sums, as kernels with int32 biases have it."""
    made = Graph(model)
    for node in made.nodes("Conv", "Gemm"):
        scales = [_scale(made, name) for name in node.input[:2]]
        bias = made.weight(node, 2)
        if bias is not None and scales[0] is not None and scales[1] is not None:
            step = np.asarray(scales[0] * scales[1], np.float32)
            store(bias.tensor, np.rint(values(bias.tensor) / step) * step)
    return made.model()


def _scale(made: Graph, name: str) -> Array | None:
    maker = made.makers.get(name)
    if maker is None or maker.op_type != "DequantizeLinear" or maker.input[1] not in made.constants:
        return None
    return values(made.constants[maker.input[1]]).astype(np.float64)


def jitter(model: ModelProto) -> ModelProto:
    """The fp32 graph, each computed result rounded to 21 bits: another kernel gives other last bits."""
    made = Graph(model)
    for node in made.nodes(*PRODUCTS, *SMOOTH):
        made.after(node, lambda x: _short(made, x, 3))
    return made.model()


def _short(made: Graph, x: str, fewer_bits: int) -> str:
    wider = made.op("Mul", x, made.constant(np.float32(2**fewer_bits + 1)))
    return made.op("Sub", wider, made.op("Sub", wider, x))


def split(model: ModelProto, size: int, half: int | None = None) -> ModelProto:
    """The fp32 graph with sums of products made in parts of `size` terms; `half` rounds the running sum to a type.

    Without it only the order of additions changes.
    """
    made = Graph(model)
    for node in made.nodes(*PRODUCTS):
        _split(made, node, size, half)
    return made.model()


def _split(made: Graph, node: NodeProto, size: int, half: int | None) -> None:
    found = made.weight(node, 1)
    if found is None or attribute(node, "group", 1) != 1 or attribute(node, "transA", 0):
        return
    rank = len(found.tensor.dims)
    side = {"Conv": 1, "ConvTranspose": 0, "MatMul": rank - 2}.get(node.op_type, int(attribute(node, "transB", 0)))
    terms = found.tensor.dims[side]
    per_term = int(np.prod(found.tensor.dims[2:])) if node.op_type.startswith("Conv") else 1
    step = max(1, size // per_term)
    if terms <= step:
        return
    parts = [_part(made, node, (start, min(start + step, terms)), side) for start in range(0, terms, step)]
    _join(made, node, parts, half)


def _part(made: Graph, node: NodeProto, ends: tuple[int, int], side: int) -> str:
    """One part of the sum; `side` is the axis of the terms in the weight."""
    axes = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": -1}
    start, end = (made.constant(np.array([one], np.int64)) for one in ends)
    x, w = (
        made.op("Slice", name, start, end, made.constant(np.array([axis], np.int64)))
        for name, axis in ((node.input[0], axes[node.op_type]), (node.input[1], side))
    )
    part = made.op(node.op_type, x, w)
    made.makers[part].attribute.extend(node.attribute)
    if node.op_type == "Gemm":
        set_attribute(made.makers[part], "beta", 1.0)
    return part


def _join(made: Graph, node: NodeProto, parts: list[str], half: int | None) -> None:
    total = parts[0] if half is None else rounded(made, parts[0], half)
    for part in parts[1:]:
        total = made.op("Add", total, part)
        total = total if half is None else rounded(made, total, half)
    if len(node.input) > 2:
        total = made.op("Add", total, _bias(made, node))
    output = node.output[0]
    made.graph.node.remove(node)
    last = made.makers[total]
    last.output[0] = output
    made.makers[output] = last


def _bias(made: Graph, node: NodeProto) -> str:
    bias = made.weight(node, 2)
    if node.op_type == "Gemm" or bias is None:
        return str(node.input[2])
    rank = made.weight(node, 1)
    ones = [1] * (len(rank.tensor.dims) - 2 if rank else 2)
    return made.op("Reshape", node.input[2], made.constant(np.array([1, -1, *ones], np.int64)))
