"""Export ResNet-50 and a BERT-base encoder with seeded random weights to ONNX.

    pip install 'trt-harness[torch]' onnxruntime torchvision transformers
    python suites/architectures/export.py

The files are for speed and numerics on full-sized architectures, not for meaning: nothing is downloaded or trained.
Each file is opened in ONNX Runtime at two sizes and compared with PyTorch; the largest difference is printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "frameworks"))
import factories

OPSET = 17  # the newest that TensorRT 8.6 knows: from 18 on it would overlook the axes of ReduceMean
IR_VERSION = 8  # the file format of opset 17, so that older runtimes open the file too
VOCABULARY = 30522
POSITIONS = 512
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Architecture:
    """A module, its tensor names, and example inputs of two sizes: the first is traced, both are compared."""

    name: str
    module: nn.Module
    dims: dict[int, str]  # free dimensions of every input
    output: str
    examples: tuple[dict[str, Tensor], ...]


def resnet50() -> Architecture:
    """ResNet-50: `image` [n, 3, 224, 224] to `logits` [n, 1000]."""
    module = factories.resnet50()
    examples = tuple({"image": torch.randn(n, 3, 224, 224)} for n in (2, 3))
    return Architecture("resnet50", module, {0: "n"}, "logits", examples)


def bert_base() -> Architecture:
    """BERT-base, 12 layers, no pooler: three int64 inputs [n, seq] to `last_hidden_state` [n, seq, 768]."""
    module = factories.bert_base()
    examples = tuple(bert_inputs(n, seq) for n, seq in ((2, 16), (3, 48)))
    return Architecture("bert_base", module, {0: "n", 1: "seq"}, "last_hidden_state", examples)


def bert_inputs(n: int, seq: int) -> dict[str, Tensor]:
    """Random tokens; the last quarter of the first row is padding, the second half of every row a second sentence."""
    mask = torch.ones(n, seq, dtype=torch.int64)
    mask[0, -(seq // 4) :] = 0
    types = torch.zeros(n, seq, dtype=torch.int64)
    types[:, seq // 2 :] = 1
    return {"input_ids": torch.randint(VOCABULARY, (n, seq)), "attention_mask": mask, "token_type_ids": types}


def export(architecture: Architecture, path: Path) -> None:
    """Write one ONNX file with the weights inside."""
    example = architecture.examples[0]
    dims = {axis: torch.export.Dim(name, max=POSITIONS) for axis, name in architecture.dims.items()}
    program = torch.onnx.export(
        architecture.module,
        tuple(example.values()),
        dynamo=True,
        opset_version=OPSET,
        input_names=list(example),
        output_names=[architecture.output],
        dynamic_shapes=(dims,) * len(example),
        external_data=False,
        verbose=False,
    )
    assert program is not None
    proto = program.model_proto
    assert [(opset.domain, opset.version) for opset in proto.opset_import] == [("", OPSET)]
    proto.ir_version = IR_VERSION
    select_dims_by_gather(proto.graph)
    for node in proto.graph.node:  # stack traces of the machine that exported: not reproducible, of no use to a reader
        del node.metadata_props[:]
    for part in (proto, proto.graph, *proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        del part.metadata_props[:]
    onnx.save(proto, path)
    onnx.checker.check_model(path, full_check=True)


def select_dims_by_gather(graph: onnx.GraphProto) -> None:
    """Replace Shape(start, end) by a whole Shape and a Gather: TensorRT 8.6's parser overlooks the two attributes."""
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        bounds = {attribute.name: attribute.i for attribute in node.attribute}
        if node.op_type != "Shape" or not bounds:
            graph.node.append(node)
            continue
        whole, wanted = f"{node.output[0]}_whole", f"{node.output[0]}_wanted"
        axes = np.arange(bounds.get("start", 0), bounds["end"], dtype=np.int64)
        graph.initializer.append(onnx.numpy_helper.from_array(axes, wanted))
        graph.node.append(onnx.helper.make_node("Shape", node.input, [whole], name=whole))
        graph.node.append(onnx.helper.make_node("Gather", [whole, wanted], node.output, name=node.name, axis=0))


@torch.no_grad()
def differences(architecture: Architecture, path: Path) -> Iterator[str]:
    """Compare the file in ONNX Runtime with the module in PyTorch; one line for each example.

    Raises:
        SystemExit: an output differs by more than TOLERANCE, or does not depend on the input.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for example in architecture.examples:
        expected = architecture.module(*example.values())
        actual = torch.from_numpy(session.run(None, {key: value.numpy() for key, value in example.items()})[0])
        largest = (actual - expected).abs().max().item()
        spread = expected.std(dim=0).mean().item()  # between rows of the batch
        shape = "x".join(str(size) for size in actual.shape)
        line = f"{path.name} {shape}: max abs diff {largest:.2e}, std {expected.std().item():.3f}, of rows {spread:.3f}"
        if not (largest < TOLERANCE < spread):
            raise SystemExit(f"{line}: this export is not usable")
        yield line


def main() -> None:
    """Export what was asked for, then print how far each file is from PyTorch."""
    architectures = {"resnet50": resnet50, "bert_base": bert_base}
    parser = argparse.ArgumentParser(description="Export ResNet-50 and BERT-base with seeded random weights to ONNX.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "models", help="folder to write to")
    parser.add_argument("--only", choices=sorted(architectures), help="export just this one")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    lines: list[str] = []
    for name, build in architectures.items():
        if options.only in (None, name):
            path = options.out / f"{name}.onnx"
            architecture = build()
            export(architecture, path)
            lines += differences(architecture, path)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
