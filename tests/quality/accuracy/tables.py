"""Small networks on rows [n, features], some of them awkward on purpose."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

from quality.accuracy.build import GAIN, Net

FEATURES = 32


def mlp(seed: int) -> ModelProto:
    """A classifier: row [n, 32] -> probabilities [n, 10]."""
    net = Net("mlp", seed + 21)
    x = net.op("Relu", net.gemm(net.input("row", FEATURES), FEATURES, 64, GAIN))
    x = net.op("Relu", net.norm(net.gemm(x, 64, 64, GAIN), 64))
    net.output(net.op("Softmax", net.gemm(x, 64, 10, gain=3), axis=-1), "probabilities", 10)
    return net.model()


def regressor(seed: int) -> ModelProto:
    """Activations with parameters of their own: row [n, 32] -> value [n, 6]."""
    net = Net("regressor", seed + 22)
    x = net.op(
        "PRelu", net.gemm(net.input("row", FEATURES), FEATURES, 64, GAIN), net.weight(net.rng.uniform(0, 0.3, 64))
    )
    x = net.op("Elu", net.gemm(x, 64, 64, GAIN), alpha=1.0)
    x = net.op("Clip", net.op("LeakyRelu", net.gemm(x, 64, 48, GAIN), alpha=0.2), net.weight(-2.0), net.weight(4.0))
    net.output(net.gemm(x, 48, 6, gain=2), "value", 6)
    return net.model()


def scales(seed: int) -> ModelProto:
    """Channels from 1e-3 to 1e3, through Exp and Log: row [n, 32] -> wide [n, 12], logs [n, 12]."""
    net = Net("scales", seed + 23)
    x = net.op("Tanh", net.gemm(net.input("row", FEATURES), FEATURES, 48))
    x = net.op("Exp", net.gemm(x, 48, 12, gain=1))
    wide = net.op("Mul", x, net.weight(np.logspace(-3, 3, 12)))
    logs = net.op("Log", net.op("Add", net.op("Mul", wide, net.weight(np.logspace(1, -2, 12))), net.weight(0.1)))
    net.output(wide, "wide", 12)
    net.output(logs, "logs", 12)
    return net.model()


def difference(seed: int) -> ModelProto:
    """Small differences of nearly equal numbers: row [n, 32] -> drift [n, 8] of about 1e-6."""
    net = Net("difference", seed + 24)
    x = net.input("row", FEATURES)
    weight = net.normal(FEATURES, 32, fan=FEATURES)
    sides = []
    for shift in (0.0, 0.03):
        y = net.op("MatMul", x, net.weight(weight + shift * net.normal(FEATURES, 32, fan=FEATURES)))
        sides.append(net.op("Tanh", net.op("Add", y, net.bias(32, 0.02))))
    mixed = net.op("MatMul", net.op("Sub", *sides), net.weight(net.normal(32, 8, fan=32)))
    net.output(net.op("Mul", mixed, net.weight(3e-5)), "drift", 8)
    return net.model()


def choice(seed: int) -> ModelProto:
    """Logits and what they choose: row [n, 32] -> logits [n, 12], label [n] int64."""
    net = Net("choice", seed + 25)
    x = net.op("Relu", net.gemm(net.input("row", FEATURES), FEATURES, 48, GAIN))
    x = net.op("Relu", net.gemm(x, 48, 48, GAIN))
    logits = net.gemm(x, 48, 12, gain=3)
    label = net.op("ArgMax", logits, axis=1, keepdims=0)
    net.output(label, "label", dtype="int64")
    net.output(logits, "logits", 12)
    return net.model()


def wide(seed: int) -> ModelProto:
    """Products of 8192 terms each: row [n, 32] -> value [n, 6]."""
    net = Net("wide", seed + 26)
    x = net.op("Tanh", net.gemm(net.input("row", FEATURES), FEATURES, 256, GAIN))
    terms = net.op("Tile", x, net.shape(1, 32))
    net.output(net.gemm(terms, 8192, 6, gain=2), "value", 6)
    return net.model()
