"""What is timed: small random networks on the runtimes of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from harness.backends import BACKENDS
from harness.backends.base import Artefact, BuildSpec, Session
from harness.sources.digest import file_digest
from quality.accuracy.build import Net


@dataclass(frozen=True)
class Cell:
    """A network on a backend; the rows are the batch."""

    name: str
    backend: str
    make: Callable[[], ModelProto]
    rows: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)


def convolutions(channels: int, size: int, blocks: int = 1) -> ModelProto:
    """A classifier: image [n, 3, size, size] -> logits [n, 10]."""
    net = Net("convolutions", 31)
    x = net.op("Relu", net.conv(net.input("image", 3, size, size), 3, channels))
    for _ in range(blocks):
        x = net.op("Relu", net.conv(x, channels, channels))
    x = net.op("Relu", net.conv(x, channels, 2 * channels, stride=2))
    x = net.op("Relu", net.conv(x, 2 * channels, 2 * channels, stride=2))
    net.output(net.gemm(net.pool(x, 2 * channels), 2 * channels, 10), "logits", 10)
    return net.model()


def attention(length: int, width: int, blocks: int = 2) -> ModelProto:
    """Blocks of a transformer: tokens [n, length, width] -> out [n, length, width]."""
    net, heads = Net("attention", 32), 4
    split, join = net.shape(-1, length, heads, width // heads), net.shape(-1, length, width)
    x = net.input("tokens", length, width)
    for _ in range(blocks):
        y = _normalised(net, x, width)
        q, k, v = (
            net.op("Transpose", net.op("Reshape", net.dense(y, width, width), split), perm=order)
            for order in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        )
        scores = net.op("Mul", net.op("MatMul", q, k), net.weight((width / heads) ** -0.5))
        mixed = net.op("Transpose", net.op("MatMul", net.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
        x = net.op("Add", x, net.dense(net.op("Reshape", mixed, join), width, width))
        y = net.op("Relu", net.dense(_normalised(net, x, width), width, 4 * width))
        x = net.op("Add", x, net.dense(y, 4 * width, width))
    net.output(x, "out", length, width)
    return net.model()


def _normalised(net: Net, x: str, width: int) -> str:
    return net.op("LayerNormalization", x, net.weight(np.ones(width)), net.bias(width), axis=-1)


def layers(width: int, count: int) -> ModelProto:
    """Fully connected layers: row [n, width] -> out [n, width]."""
    net = Net("layers", 33)
    x = net.input("row", width)
    for _ in range(count):
        x = net.op("Relu", net.gemm(x, width, width, gain=2**0.5))
    net.output(x, "out", width)
    return net.model()


ONE, TWO = {"threads": 1}, {"threads": 2}
CPU = (
    Cell("conv", "onnxruntime-cpu", partial(convolutions, 32, 48), options=ONE),
    Cell("attention", "onnxruntime-cpu", partial(attention, 64, 128), options=ONE),
    Cell("layers", "onnxruntime-cpu", partial(layers, 128, 6), options=ONE),
    Cell("conv-large", "onnxruntime-cpu", partial(convolutions, 32, 96), options=ONE),
    Cell("conv-deep", "onnxruntime-cpu", partial(convolutions, 24, 48, 3), options=ONE),
    Cell("attention-long", "onnxruntime-cpu", partial(attention, 96, 128, 3), options=ONE),
    Cell("conv-2-threads", "onnxruntime-cpu", partial(convolutions, 32, 48), options=TWO),
)
"""The last has two modes where two cores have other work as well: its threads wait for each other."""
GPU = (
    Cell("trt-layers", "tensorrt", partial(layers, 128, 6)),
    Cell("trt-conv", "tensorrt", partial(convolutions, 32, 48)),
    Cell("trt-attention", "tensorrt", partial(attention, 128, 256, 4)),
    Cell("trt-conv-wide", "tensorrt", partial(convolutions, 64, 112, 2), 4),
    Cell("trt-conv-deep", "tensorrt", partial(convolutions, 128, 112, 4), 4),
    Cell("cuda-conv-wide", "onnxruntime-cuda", partial(convolutions, 64, 112, 2), 4),
)
CELLS: Mapping[str, tuple[Cell, ...]] = {"cpu": CPU, "gpu": GPU}


def built(cell: Cell, folder: Path) -> Artefact:
    """What all launches of a cell load: a model file, of TensorRT an engine; made once."""
    place = folder / cell.name
    place.mkdir(parents=True, exist_ok=True)
    model = place / "model.onnx"
    if not model.exists():
        onnx.save(cell.make(), str(model))
    engine = place / "model.engine"
    if engine.exists():
        return Artefact(engine, file_digest(engine))
    return BACKENDS.load(cell.backend)().build(_spec(cell, model), place)


@contextmanager
def opened(cell: Cell, folder: Path) -> Iterator[Session]:
    """A session on what was built."""
    session = BACKENDS.load(cell.backend)().open(built(cell, folder), _spec(cell, folder / cell.name / "model.onnx"))
    try:
        yield session
    finally:
        session.close()


def feeds_of(cell: Cell, folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Random rows for its only input."""
    value = onnx.load(str(folder / cell.name / "model.onnx")).graph.input[0]
    shape = (cell.rows, *(dim.dim_value for dim in value.type.tensor_type.shape.dim[1:]))
    return {value.name: np.random.default_rng(5).standard_normal(shape).astype(np.float32)}


def _spec(cell: Cell, path: Path) -> BuildSpec:
    graph = onnx.load(str(path)).graph
    dtypes = {value.name: "float32" for value in (*graph.input, *graph.output)}
    profile = {name: (array.shape,) * 3 for name, array in feeds_of(cell, path.parent.parent).items()}
    return BuildSpec(cell.name, path, "fp32", profile, dtypes, cell.options, attest=False)
