"""Sound files of every kind, for mutants to be made of."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from ruamel.yaml import YAML

import builders
from builders import latency, record
from harness import baselines
from harness.codec import encode
from harness.records import Deviations, Element, Failure, Latency, Outcome, Run
from harness.timing import loop
from models import attention, conv_net

SUITES = (
    """\
suite: vision
tags: [smoke]
environments: {default: {against: old}, old: {}}
defaults:
  reference: {backend: onnxruntime-cpu, precision: fp32}
  backends: [onnxruntime-cpu, fake, tensorrt@old]
  precisions: [fp32, fp16]
  latency: {regression: 2%, floor_us: 5, min_time_s: 0.5, budget: {p99_ms: 2.0}}
models:
  - name: net
    source: m.onnx
    shapes: [{n: 1}, {n: 64, seq: 8}]
    profile: {n: [1, 8, 64]}
    inputs:
      image: {file: d.npz, key: images, slice: [0, 4, 2]}
      ids: {integers: [0, 30522], seed: 7}
      noise: {normal: [0, 1]}
      mask: {ones: true}
    int8: {calibration: {file: d.npz, key: images, samples: 16}}
    accuracy:
      atol: 1.0e-4
      fp16: {cosine_min: 0.999, rule: either}
      outputs: {logits: {max_abs: 0.1, fp16: {sqnr_min_db: 18}}}
      task: {metric: top1, output: logits, labels: {file: d.npz, key: y}, min: 0.95}
    drift: {max_factor: 2, gate: true}
    shape_fuzz: 3
    builds: 2
    exclude: [{backend: tensorrt, precision: fp16, reason: "no kernel"}]
""",
    """\
suite: text
models:
  - {name: folder, source: set, reference: {stored: true}, tags: [a, b]}
  - {name: all, source: 'more/*.onnx', precisions: [as-is]}
  - name: far
    source: https://example.org/m.onnx
    sha256: abababababababababababababababababababababababababababababababab
    options: {tensorrt: {optimization_level: 3, workspace_mib: 64}, fake: {script: f.yaml}}
""",
    """\
suite: shared
defaults: &d
  latency: {enabled: false}
  fidelity: {enabled: true, samples: 8, budget_s: 5}
  invariance: {batch: true}
  resources: {engine_mib: 10, host_mib: 2000}
  serving: {sessions: 2, multi_stream: {samples: 4}, server: {p99_ms: 15, min_per_s: 200, seed: 1}, offline: {}}
  attestation: {min_share: 0.5, unknown: pass}
models:
  - &m
    name: a
    source: m.onnx
    files: {int8: m.onnx}
    inputs: &i {x: {uniform: [0, 1], seed: 3}}
    reference: {file: d.npz}
  - {name: b, source: m.onnx, inputs: *i, precisions: [int8, fp32]}
""",
)


@cache
def data(place: int) -> Any:
    """One of the suites as plain data."""
    return YAML(typ="safe", pure=True).load(SUITES[place])


def files(folder: Path) -> Path:
    """What the suites name, in a root of its own."""
    (folder / "pyproject.toml").touch()
    for name in ("m.onnx", "d.npz", "f.yaml", "set/model.onnx", "set/test_data_set_0/input_0.pb", "more/n.onnx"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def run() -> Any:
    """A run of three records, as JSON values."""
    error = Failure("crash", "infer", "the worker died", "a log")
    records = (
        record(deviations=(Deviations("logits", 8, 5, {"-3": 1, "0": 1}, (Element(0, (1, 2), "1", "nan", None),)),)),
        record("vision/b/fake/fp32/static", "error", error=error),
        record("a/c/fake/fp32/n-1", "skipped"),
    )
    return json.loads(json.dumps(encode(builders.run(*records))))


def journal() -> list[tuple[str, Any]]:
    """The lines of a finished run, kind and data."""
    whole = builders.run(record("vision/a/fake/fp32/static"), record("vision/b/fake/fp32/static", "failed"))
    begin = {
        "id": whole.id,
        "started": whole.started,
        "command": whole.command,
        "commit": whole.commit,
        "shard": None,
        "cases": {one.case.id: "d" for one in whole.records},
    }
    found: list[tuple[str, Any]] = [("begin", begin)]
    found += [("environment", {"name": name, "environment": encode(one)}) for name, one in whole.environments.items()]
    found += [("measured", {"case": one.case.id, "outcome": encode(Outcome())}) for one in whole.records]
    found += [("record", encode(one)) for one in whole.records]
    found.append(("end", {"run": encode(replace(whole, records=()))}))
    return found


def timed() -> Run:
    """A run with all that other tools want to know of its times."""
    samples = [0.001 + 1e-5 * (n % 7) for n in range(200)]
    return builders.run(*(record(f"vision/m{n}/fake/fp32/static", latency=_spread(samples, n)) for n in range(2)))


def _spread(samples: list[float], n: int) -> Latency:
    return Latency(loop.quantiles([one * (n + 1) for one in samples]), None, "host", {"transfers": False})


def baseline(folder: Path) -> Any:
    """An accepted suite of three cases, as JSON values."""
    about = {
        "run": "r1",
        "commit": None,
        "date": "2026-03-02",
        "by": "a",
        "reason": "b",
        "versions": {"onnxruntime": "1"},
    }
    entries = baselines.accept(
        {}, [record(f"vision/m{n}/tensorrt/fp16/n-{n}", latency=latency(1.0 + n)) for n in range(3)], about
    )
    return json.loads(baselines.write(folder, "nvidia-l4-x1", "vision", entries).read_text())


def models() -> list[onnx.ModelProto]:
    """Small models: convolutions, attention, subgraphs, functions, sparse and external tensors."""
    return [conv_net(), attention(8, 2), _branches()]


def _branches() -> onnx.ModelProto:
    """A model with an If, a constant, a sparse initializer, a local function and an external tensor."""
    branch = [
        helper.make_graph(
            [helper.make_node("Constant", [], [f"c{n}"], value=numpy_helper.from_array(np.full(4, n, np.float32)))],
            f"branch{n}",
            [],
            [helper.make_tensor_value_info(f"c{n}", TensorProto.FLOAT, [4])],
        )
        for n in (0, 1)
    ]
    outside = helper.make_tensor("outside", TensorProto.FLOAT, [2], bytes(8), raw=True)
    outside.ClearField("raw_data")
    outside.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "m.data", "offset": "0", "length": "8"}.items():
        outside.external_data.add(key=key, value=value)
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.ones(2, np.float32), "s"), numpy_helper.from_array(np.array([0, 3]), "s_i"), [4]
    )
    function = helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    nodes = [
        helper.make_node("If", ["flag"], ["picked"], then_branch=branch[0], else_branch=branch[1]),
        helper.make_node("Twice", ["picked"], ["two"], domain="own"),
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Add", ["two", "rows"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "branches",
        [
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(np.ones((3, 4), np.float32), "table"), outside],
        sparse_initializer=[sparse],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=8)


def arrays() -> dict[str, list[bytes]]:
    """Sound files of arrays by suffix."""
    values = {"images": np.arange(24, dtype=np.float32).reshape(4, 6), "y": np.arange(4), "t": np.array(["a", "bc"])}
    packed = []
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, **values)
        packed.append(stream.getvalue())
    plain = []
    for value in values.values():
        stream = io.BytesIO()
        np.save(stream, value)
        plain.append(stream.getvalue())
    tensors = [
        numpy_helper.from_array(value.astype(object) if value.dtype.kind == "U" else value, name)
        for name, value in values.items()
    ]
    return {".npz": packed, ".npy": plain, ".pb": [tensor.SerializeToString() for tensor in tensors]}
