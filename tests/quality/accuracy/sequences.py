"""Small networks on sequences: attention, recurrence, embeddings."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

from quality.accuracy.build import Net

WIDTH, HEADS = 32, 4
VOCABULARY = 256
HIDDEN = 32
MASKED = -1e4
"""What attention adds where it must not look; fp16 holds it."""


def attention(seed: int) -> ModelProto:
    """One causal block before LayerNorm and GELU by erf: tokens [n, 16, 32] -> out [n, 16, 32]."""
    net = Net("attention", seed + 11)
    x = net.input("tokens", 16, WIDTH)
    mask = net.weight(np.triu(np.full((1, 1, 16, 16), MASKED), 1), "mask")
    x = net.op("Add", x, _attend(net, _layer_norm(net, x), 16, mask))
    net.output(net.op("Add", x, _feed_forward(net, _layer_norm(net, x))), "out", 16, WIDTH)
    return net.model()


def encoder(seed: int) -> ModelProto:
    """Two layers over embedded tokens, padding masked: ids [n, 24] int64 (0 is padding) -> logits [n, 8]."""
    net = Net("encoder", seed + 12)
    ids = net.input("ids", 24, dtype="int64")
    table = net.rng.normal(0, 1, (VOCABULARY, WIDTH))
    x = net.op(
        "Add", net.op("Gather", net.weight(table, "table"), ids), net.weight(net.rng.normal(0, 0.3, (24, WIDTH)))
    )
    padding = net.op("Cast", net.op("Equal", ids, net.shape(0)), to=1)
    padding = net.op("Reshape", padding, net.shape(-1, 1, 1, 24))
    mask = net.op("Mul", padding, net.weight(MASKED, "mask"))
    x = _layer_norm(net, x)
    for _ in range(2):
        x = _layer_norm(net, net.op("Add", x, _attend(net, x, 24, mask)))
        x = _layer_norm(net, net.op("Add", x, _feed_forward(net, x)))
    first = net.op("Gather", x, net.shape(0), axis=1)
    pooled = net.op("Tanh", net.gemm(net.op("Reshape", first, net.shape(-1, WIDTH)), WIDTH, WIDTH))
    net.output(net.gemm(pooled, WIDTH, 8, gain=2), "logits", 8)
    return net.model()


def _layer_norm(net: Net, x: str) -> str:
    scale = net.weight(net.rng.uniform(0.8, 1.2, WIDTH))
    return net.op("LayerNormalization", x, scale, net.bias(WIDTH), axis=-1, epsilon=1e-5)


def _attend(net: Net, x: str, length: int, mask: str) -> str:
    size = WIDTH // HEADS
    split = net.shape(-1, length, HEADS, size)
    orders = {"q": [0, 2, 1, 3], "k": [0, 2, 3, 1], "v": [0, 2, 1, 3]}
    q, k, v = (
        net.op("Transpose", net.op("Reshape", net.dense(x, WIDTH, WIDTH, gain=1.5), split), perm=order)
        for order in orders.values()
    )
    scores = net.op("Mul", net.op("MatMul", q, k), net.weight(size**-0.5))
    shares = net.op("Softmax", net.op("Add", scores, mask), axis=-1)
    joined = net.op("Transpose", net.op("MatMul", shares, v), perm=[0, 2, 1, 3])
    return net.dense(net.op("Reshape", joined, net.shape(-1, length, WIDTH)), WIDTH, WIDTH)


def _feed_forward(net: Net, x: str) -> str:
    x = net.dense(x, WIDTH, 2 * WIDTH, gain=1.5)
    erf = net.op("Erf", net.op("Div", x, net.weight(2**0.5)))
    x = net.op("Mul", net.op("Mul", x, net.op("Add", erf, net.weight(1.0))), net.weight(0.5))
    return net.dense(x, 2 * WIDTH, WIDTH)


def lstm(seed: int) -> ModelProto:
    """A recurrent layer of four gates: series [n, 12, 8] -> forecast [n, 4]."""
    return _recurrent("LSTM", 4, seed + 13)


def gru(seed: int) -> ModelProto:
    """A recurrent layer of three gates: series [n, 12, 8] -> forecast [n, 4]."""
    return _recurrent("GRU", 3, seed + 14)


def _recurrent(kind: str, gates: int, seed: int) -> ModelProto:
    net = Net(kind.lower(), seed)
    x = net.op("Transpose", net.input("series", 12, 8), perm=[1, 0, 2])
    weight = net.weight(net.normal(1, gates * HIDDEN, 8, fan=8))
    recurrence = net.weight(net.normal(1, gates * HIDDEN, HIDDEN, fan=HIDDEN))
    bias = net.weight(net.rng.normal(0, 0.1, (1, 2 * gates * HIDDEN)), "bias")
    x = net.op(kind, x, weight, recurrence, bias, hidden_size=HIDDEN)
    last = net.op("Reshape", net.op("Gather", x, net.shape(-1), axis=0), net.shape(-1, HIDDEN))
    net.output(net.gemm(net.op("Relu", net.gemm(last, HIDDEN, HIDDEN, 2)), HIDDEN, 4, gain=2), "forecast", 4)
    return net.model()


def bag(seed: int) -> ModelProto:
    """The mean of embeddings and a scorer: ids [n, 20] int64 -> score [n, 3]."""
    net = Net("bag", seed + 15)
    table = net.weight(net.rng.normal(0, 1, (VOCABULARY, 48)), "table")
    x = net.op("ReduceMean", net.op("Gather", table, net.input("ids", 20, dtype="int64")), axes=[1], keepdims=0)
    x = net.op("Tanh", net.gemm(x, 48, 48, gain=4))
    net.output(net.op("Sigmoid", net.gemm(x, 48, 3, gain=2)), "score", 3)
    return net.model()
