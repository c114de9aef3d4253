"""What a precision twin knows of operators: which of them round, which add up, and which read shapes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.variants.graph import STANDARD, nodes

RECURRENT = frozenset(("LSTM", "GRU", "RNN"))
TRANSCENDENTAL = frozenset(
    (
        *("Exp", "Log", "Pow", "Sigmoid", "Tanh", "Erf", "Gelu", "Softmax", "LogSoftmax", "Softplus", "Mish", "Swish"),
        *("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh"),
        *("Elu", "Selu", "Celu", "ReduceLogSumExp", "Attention", "LpNormalization"),
    )
)
"""Functions for which runtimes use fast approximations even in float32."""
SUMS = frozenset(
    (
        *(
            "GlobalAveragePool",
            "GlobalLpPool",
            "AveragePool",
            "LpPool",
            "ReduceMean",
            "ReduceSum",
            "ReduceL1",
            "ReduceL2",
        ),
        *("ReduceL2", "ReduceSumSquare", "ReduceLogSum", "CumSum"),
    )
)
"""Operators whose result is a sum over many elements of a tensor, often all of one sign: each addition rounds."""
LANES = 16
"""Kernels add up in about so many partial sums: their error is that of sqrt(elements / LANES) roundings (Higham,
Accuracy and Stability of Numerical Algorithms, 2nd edition, section 4.2, with errors that add up at random)."""
PRODUCTS = frozenset(("Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum"))
EXACT = frozenset(
    (
        *(
            "Identity",
            "Reshape",
            "Flatten",
            "Squeeze",
            "Unsqueeze",
            "Transpose",
            "Gather",
            "GatherElements",
            "GatherND",
        ),
        *("Slice", "Split", "Concat", "Expand", "Tile", "Pad", "DepthToSpace", "SpaceToDepth", "ReverseSequence"),
        *("ScatterElements", "ScatterND", "Where", "Compress", "Trilu", "Dropout", "Constant", "ConstantOfShape"),
        *("Relu", "MaxPool", "GlobalMaxPool", "Max", "Min", "Clip", "Abs", "Neg", "Sign", "ReduceMax", "ReduceMin"),
        *("TopK", "Floor", "Ceil", "Round", "Cast", "CastLike", "QuantizeLinear", "DequantizeLinear", "OneHot"),
        *("If", "Loop", "Scan", "Shape", "Range", "EyeLike", "RandomNormal", "RandomUniform", "BitCast"),
    )
)
"""Operators whose results are among their inputs or are rounded to a grid of their own: they add no rounding error."""
SHAPE_INPUTS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("Reshape", "Expand", "Tile", "TopK", "Unsqueeze", "Squeeze", "Split", "OneHot"), (1,)),
    **dict.fromkeys(("Resize", "Upsample", "Range", "ConstantOfShape", "Loop"), (0, 1, 2, 3)),
    "Slice": (1, 2, 3, 4),
    "Pad": (1, 3),
    "NonMaxSuppression": (2, 3, 4),
}
"""Inputs that decide on shapes; what they are computed from must not be moved."""
CONTENT = {"Resize": (0,), "Upsample": (0,), "Loop": ()}
"""Of those the inputs that are data after all."""


def decides_shapes(model: Any) -> set[str]:
    """Tensors from which a shape is computed."""
    makers = {name: node for node in nodes(model) for name in node.output if name}
    found: set[str] = set()
    waiting = [name for node in nodes(model) for name in _shape_inputs(node)]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name in makers and makers[name].op_type not in ("Shape", "Size"):
            waiting += [read for read in makers[name].input if read]
    return found


def _shape_inputs(node: Any) -> Iterable[str]:
    if node.domain not in STANDARD:
        return ()
    data = CONTENT.get(node.op_type, ())
    places = [place for place in SHAPE_INPUTS.get(node.op_type, ()) if place not in data]
    return [node.input[place] for place in places if place < len(node.input) and node.input[place]]
