"""Writes the operator tests of the onnx package as folders in the ONNX test layout, with one suite over them all."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

SUITE = """\
suite: onnx-operators
models:
  - name: node
    source: node/*
    backends: [onnxruntime-cpu]
    precisions: [fp32]
    latency: {enabled: false}
    options: {onnxruntime-cpu: {threads: 1}}    # these tensors give a second thread nothing to do but to start
"""


def collected() -> list[Any]:
    """Every operator test of the installed onnx package, in its own order; their values are seeded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of them divide by zero to make the infinities that they test
        from onnx.backend.test.case.node import collect_testcases

        return list(collect_testcases(None))


def write(folder: Path) -> list[str]:
    """Write the suite and `node/<name>/` for every test; the names, in onnx's order."""
    cases = collected()
    for case in cases:
        _write_case(case, folder / "node" / case.name)
    (folder / "operators.yaml").write_text(SUITE)
    return [case.name for case in cases]


def _write_case(case: Any, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(case.model.SerializeToString())
    for number, (inputs, outputs) in enumerate(case.data_sets):
        data = folder / f"test_data_set_{number}"
        data.mkdir()
        for role, values, described in (
            ("input", inputs, case.model.graph.input),
            ("output", outputs, case.model.graph.output),
        ):
            for position, proto in enumerate(_protos(values, described)):
                (data / f"{role}_{position}.pb").write_bytes(proto.SerializeToString())


def _protos(values: Sequence[Any], described: Sequence[Any]) -> Iterator[Any]:
    """Each value as the message that its type in the graph asks for; sequences and optionals have their own."""
    for value, about in zip(values, described, strict=True):
        match about.type.WhichOneof("value"):
            case "sequence_type":
                yield numpy_helper.from_list(value, about.name)
            case "optional_type":
                yield numpy_helper.from_optional(value, about.name)
            case _ if isinstance(value, onnx.TensorProto):
                yield value
            case _:
                yield numpy_helper.from_array(np.asarray(value), about.name)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    print(f"{target}: {len(write(target))} tests; run them with: harness run {target}/operators.yaml")
