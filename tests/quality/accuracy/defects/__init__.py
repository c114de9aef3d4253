"""The defects of the count: each family at its strengths, as an edit of a variant file or of its outputs."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np
from onnx import TensorProto

from quality.accuracy.defects import graph, outputs, weights
from quality.accuracy.variants import PRECISIONS


@dataclass(frozen=True)
class Defect:
    """One family at one strength; exactly one of `apply`, `outputs` and `instead` is set."""

    family: str
    strength: str
    precisions: tuple[str, ...] = PRECISIONS
    apply: weights.Apply | None = None
    """The variant with the defect; None where the model has nothing that could have it."""
    outputs: outputs.Change | None = None
    instead: str | None = None
    """The precision that runs although another one was asked for."""
    emulated: bool = False
    """Arithmetic in ONNX operators: a CPU shows it, a GPU's compiler would fuse it away."""


FULL, HALF, INT8 = ("fp32",), ("fp16", "bf16"), ("int8",)
DEFECTS: tuple[Defect, ...] = (
    *(Defect("row scaled", f"x{f:g}", apply=weights.row_scaled(f)) for f in (1.002, 1.005, 1.02, 1.1, 1.5)),
    Defect("row stale", "other values", apply=weights.row_stale),
    *(Defect("layer stale", f"{share:.1%}", apply=weights.layer_stale(share)) for share in (0.002, 0.01, 0.05)),
    Defect("channels swapped", "two", apply=weights.rows_swapped),
    Defect("bias dropped", "all of one", apply=weights.bias_changed(np.zeros_like)),
    Defect("bias permuted", "by one", apply=weights.bias_changed(lambda bias: np.roll(bias, 1, axis=-1))),
    *(Defect("weight scale wrong", f"x{f:g}", INT8, weights.scale_wrong(f, constant=True)) for f in (1.02, 1.1, 2.0)),
    *(Defect("range wrong", f"x{f:g}", INT8, weights.scale_wrong(f, constant=False)) for f in (1.01, 1.1, 2.0)),
    *(Defect("zero point wrong", f"{n:+d}", INT8, weights.zero_point_wrong(n)) for n in (1, 8)),
    *(Defect("badly calibrated", f"x{f:g}", INT8, weights.badly_calibrated(f)) for f in (0.25, 0.7, 4.0)),
    Defect("padding shifted", "by one", apply=graph.padding_shifted),
    *(Defect("epsilon", f"{value:g}", apply=graph.epsilon(value)) for value in (1e-4, 1e-3, 1e-2)),
    Defect("GELU by tanh", "all", apply=graph.gelu_by_tanh),
    *(Defect("activation parameter", f"x{f:g}", apply=graph.activation(f)) for f in (1.05, 1.5)),
    Defect("activation dropped", "one", apply=graph.activation_dropped),
    *(Defect("overflow", f"x{f:g}", ("fp16",), graph.beyond_range(f)) for f in (2.0**13, 2.0**15)),
    *(Defect("saturated", f"at {value:g}", apply=graph.saturated(value)) for value in (1.0, 3.0)),
    *(
        Defect("fp16 accumulation", f"every {n}", ("fp16",), graph.accumulated(n, TensorProto.FLOAT16), emulated=True)
        for n in (32, 8)
    ),
    *(
        Defect("bf16 accumulation", f"every {n}", ("bf16",), graph.accumulated(n, TensorProto.BFLOAT16), emulated=True)
        for n in (32, 8)
    ),
    Defect("TF32 on", "all products", FULL, instead="tf32"),
    Defect("fp16 weights", "all", ("fp32", "tf32"), weights.rounded_weights(np.dtype(np.float16))),
    Defect("bf16 weights", "all", ("fp32", "tf32", "fp16"), weights.rounded_weights(np.dtype(ml_dtypes.bfloat16))),
    Defect("fp16 instead", "all", FULL, instead="fp16"),
    Defect("bf16 instead", "all", ("fp32", "tf32", "fp16"), instead="bf16"),
    Defect("int8 instead", "all", ("fp32", "tf32", "fp16", "bf16"), instead="int8"),
    Defect("mask ignored", "one layer", apply=graph.mask_ignored),
    Defect("softmax axis", "one layer", apply=graph.softmax_axis),
    Defect("resize grid", "asymmetric", apply=graph.resize_grid),
    Defect("wrong index", "one beside", apply=graph.wrong_index),
    *(Defect("bias lost at one row", f"row {row}", apply=graph.bias_lost_for_one(row)) for row in (0, 63)),
    Defect("other row's data", "one row", outputs=outputs.other_row),
    Defect("row not written", "one row", outputs=outputs.zeroed),
    Defect("NaN", "one element", outputs=outputs.element(float("nan"))),
    Defect("infinity", "one element", outputs=outputs.element(float("inf"))),
    Defect("output missing", "one", outputs=outputs.missing),
    Defect("output stuck", "one column", outputs=outputs.stuck),
    *(Defect("index off by one", f"{share:.0%}", outputs=outputs.shifted_index(share)) for share in (0.02, 1.0)),
    Defect("ties the other way", "near ties", outputs=outputs.ties_other_way),
)
