"""Small networks on images [n, channels, height, width]."""

from __future__ import annotations

from onnx import ModelProto

from quality.accuracy.build import Net


def residual(seed: int) -> ModelProto:
    """Two residual blocks with batch normalisation: image [n, 3, 16, 16] -> logits [n, 10]."""
    net = Net("residual", seed + 1)
    x = net.op("Relu", net.norm(net.conv(net.input("image", 3, 16, 16), 3, 16), 16))
    for _ in range(2):
        y = net.op("Relu", net.norm(net.conv(x, 16, 16), 16))
        x = net.op("Relu", net.op("Add", x, net.norm(net.conv(y, 16, 16), 16)))
    x = net.op("Relu", net.conv(x, 16, 32, stride=2))
    net.output(net.gemm(net.pool(x, 32), 32, 10, gain=2), "logits", 10)
    return net.model()


def separable(seed: int) -> ModelProto:
    """Depthwise-separable convolutions with Relu6: image [n, 3, 16, 16] -> logits [n, 10]."""
    net = Net("separable", seed + 2)
    x = _relu6(net, net.conv(net.input("image", 3, 16, 16), 3, 16))
    for inputs, outputs, stride in ((16, 32, 1), (32, 32, 2), (32, 64, 1)):
        x = _relu6(net, net.conv(x, inputs, inputs, stride=stride, group=inputs))
        x = _relu6(net, net.conv(x, inputs, outputs, kernel=1))
    net.output(net.gemm(net.pool(x, 64), 64, 10, gain=2), "logits", 10)
    return net.model()


def _relu6(net: Net, x: str) -> str:
    return net.op("Clip", x, net.weight(0.0), net.weight(6.0))


def detection(seed: int) -> ModelProto:
    """Boxes and scores on an 8 x 8 grid: image [n, 3, 32, 32] -> boxes [n, 64, 4], scores [n, 64, 3]."""
    net = Net("detection", seed + 3)
    x = net.input("image", 3, 32, 32)
    for inputs, outputs, stride in ((3, 12, 2), (12, 24, 2), (24, 24, 1)):
        x = net.op("LeakyRelu", net.conv(x, inputs, outputs, stride=stride), alpha=0.1)
    boxes = _cells(net, net.conv(x, 24, 4, kernel=1), 4)
    grid = [[column + 0.5, row + 0.5] for row in range(8) for column in range(8)]
    parts = [net.op("Slice", boxes, net.shape(a), net.shape(a + 2), net.shape(2)) for a in (0, 2)]
    centre = net.op("Add", net.op("Sigmoid", parts[0]), net.weight([grid]))
    size = net.op("Exp", net.op("Mul", net.op("Tanh", parts[1]), net.weight(2.0)))
    made = net.op("Mul", net.op("Concat", centre, size, axis=2), net.weight(4.0))
    scores = net.op("Sigmoid", _cells(net, net.conv(x, 24, 3, kernel=1), 3))
    net.output(made, "boxes", 64, 4)
    net.output(scores, "scores", 64, 3)
    return net.model()


def _cells(net: Net, x: str, channels: int) -> str:
    rows = net.op("Transpose", x, perm=[0, 2, 3, 1])
    return net.op("Reshape", rows, net.shape(-1, 64, channels))


def segmentation(seed: int) -> ModelProto:
    """An encoder and decoder with a skip: image [n, 3, 16, 16] -> mask [n, 4, 16, 16]."""
    net = Net("segmentation", seed + 4)
    wide = net.op("Relu", net.conv(net.input("image", 3, 16, 16), 3, 12))
    x = net.op("Relu", net.conv(wide, 12, 24, stride=2))
    x = net.op("Relu", net.conv(x, 24, 24, stride=2))
    weight = net.weight(net.normal(24, 24, 2, 2, fan=24, gain=2**0.5))
    x = net.op("ConvTranspose", x, weight, net.bias(24), kernel_shape=[2, 2], strides=[2, 2])
    scales = net.weight([1, 1, 2, 2], "scales")
    x = net.op("Resize", net.op("Relu", x), "", scales, mode="linear", coordinate_transformation_mode="half_pixel")
    x = net.op("Relu", net.conv(net.op("Concat", x, wide, axis=1), 36, 12))
    net.output(net.conv(x, 12, 4, kernel=1), "mask", 4, 16, 16)
    return net.model()


def norms(seed: int) -> ModelProto:
    """Instance and group normalisation with SiLU: image [n, 3, 16, 16] -> features [n, 32]."""
    net = Net("norms", seed + 5)
    x = net.conv(net.input("image", 3, 16, 16), 3, 16)
    x = _silu(net, net.op("InstanceNormalization", x, net.weight(net.rng.uniform(0.7, 1.3, 16)), net.bias(16)))
    x = net.conv(x, 16, 24, stride=2)
    groups = net.op("Reshape", x, net.shape(0, 4, -1))
    groups = net.op("InstanceNormalization", groups, net.weight([1.0] * 4), net.weight([0.0] * 4))
    x = net.op("Reshape", groups, net.shape(-1, 24, 8, 8))
    scale = net.weight(net.rng.uniform(0.7, 1.3, (24, 1, 1)))
    x = _silu(net, net.op("Add", net.op("Mul", x, scale), net.weight(net.rng.normal(0, 0.1, (24, 1, 1)))))
    net.output(net.gemm(net.pool(net.conv(x, 24, 24), 24), 24, 32, gain=2), "features", 32)
    return net.model()


def pooled(seed: int) -> ModelProto:
    """Means over large maps, which round thousands of times: image [n, 3, 64, 64] -> logits [n, 10]."""
    net = Net("pooled", seed + 6)
    x = net.op("Relu", net.norm(net.conv(net.input("image", 3, 64, 64), 3, 8), 8))
    net.output(net.gemm(net.pool(x, 8), 8, 10, gain=2), "logits", 10)
    return net.model()


def _silu(net: Net, x: str) -> str:
    return net.op("Mul", x, net.op("Sigmoid", x))
