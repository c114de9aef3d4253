"""A small classifier of colours with its images, for tests of inputs that are made from raw files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

COLOURS = """
suite: colours
models:
  - name: means
    source: means.onnx
    shapes: [{{n: 4}}]
    precisions: [{precisions}]
    inputs:
      image: {{images: val, size: 8, {settings}labels: labels.csv}}
    accuracy:
      int8: {{cosine_min: 0.9}}
      task: {{metric: top1, output: logits, min: 0.9}}
    latency: {{enabled: false}}
"""


def colours(folder: Path, count: int = 7) -> Path:
    """Images of 20 x 24 pixels in which one channel is the brightest, their labels, and a model that names it."""
    from PIL import Image

    (folder / "val").mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 60, (20, 24, 3), dtype=np.uint8)
        pixels[..., number % 3] += 150
        Image.fromarray(pixels).save(folder / "val" / f"{number}.png")
    rows = "".join(f"{number}.png,{number % 3}\n" for number in range(count))
    (folder / "labels.csv").write_text(f"file,label\n{rows}")
    means_model(folder / "means.onnx")
    return suite(folder)


def suite(folder: Path, settings: str = "", precisions: str = "fp32") -> Path:
    """The suite file, with more settings of the images: text that ends in a comma and a space."""
    path = folder / "colours.yaml"
    path.write_text(COLOURS.format(settings=settings, precisions=precisions))
    return path


def means_model(path: Path) -> None:
    """Input image [n, 3, 8, 8], output logits [n, 3]: the mean of each channel."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])
    weights = numpy_helper.from_array(np.eye(3, dtype=np.float32), "w")
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["means", "w"], ["logits"]),
    ]
    graph = helper.make_graph(nodes, "means", [image], [logits], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
