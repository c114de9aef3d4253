"""Networks with one weak layer, and a bench that works in this process, for tests of `harness debug`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
from onnx import ModelProto, helper

from harness.codec import decode, encode
from harness.environment import describe
from harness.records import Case, LatencyPlan, Location, Outcome, Plan, Source
from harness.runner.probes import Probes
from harness.runner.steps import Steps
from harness.runner.workshop import Workshop
from models import _model
from plans import PLAN


def weak_net(gain: float = 3000.0, channels: int = 8) -> ModelProto:
    """image [n, 1, 8, 8] -> logits [n, 10]; `widen` scales one channel up, `second` has weights that scale it back.

    Quantised per tensor the wide channel leaves nothing of the others; with a gain of some millions fp16 overflows.
    """
    rng = np.random.default_rng(0)
    wide, second = np.ones((1, channels, 1, 1)), rng.normal(0, 0.1, (16, channels, 3, 3))
    wide[0, 3], second[:, 3] = gain, second[:, 3] / gain
    weights = {
        "w1": rng.normal(0, 0.3, (channels, 1, 3, 3)),
        "b1": rng.normal(0.5, 0.1, channels),
        "k": wide,
        "w2": second,
        "b2": rng.normal(0, 0.1, 16),
        "w4": rng.normal(0, 0.1, (16, 16, 3, 3)),
        "b4": rng.normal(0, 0.1, 16),
        "w3": rng.normal(0, 0.1, (10, 256)),
        "b3": rng.normal(0, 0.1, 10),
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "w1", "b1"], ["c1"], "first", pads=[1] * 4),
        node("Relu", ["c1"], ["r1"], "relu1"),
        node("Mul", ["r1", "k"], ["m1"], "widen"),
        node("Conv", ["m1", "w2", "b2"], ["c2"], "second", pads=[1] * 4),
        node("Relu", ["c2"], ["r2"], "relu2"),
        node("Conv", ["r2", "w4", "b4"], ["c4"], "third", pads=[1] * 4),
        node("Relu", ["c4"], ["r4"], "relu4"),
        node("MaxPool", ["r4"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p"], ["f"], "flat"),
        node("Gemm", ["f", "w3", "b3"], ["logits"], "head", transB=1),
    ]
    return _model("weak", nodes, weights, {"image": ["n", 1, 8, 8]}, {"logits": ["n", 10]})


def overflowing_net(width: int = 64, gain: float = 3000.0) -> ModelProto:
    """image [n, 16, 32, 32] -> logits [n, 10]: `first` gives values beyond fp16 for inputs of a spread of 40.

    `second` scales them back, so nothing but the two and the Relu between them needs more than fp16. All weights fit.
    """
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.normal(0, 0.1, (width, 16, 3, 3)) * gain,
        "w2": rng.normal(0, (9 * width) ** -0.5, (width, width, 3, 3)) / gain,
        "b2": rng.normal(0, 0.1, width),
        "w3": rng.normal(0, (9 * width) ** -0.5, (width, width, 3, 3)),
        "b3": rng.normal(0, 0.1, width),
        "w4": rng.normal(0, width**-0.5, (10, width)),
        "b4": rng.normal(0, 0.1, 10),
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "w1"], ["c1"], "first", pads=[1] * 4),
        node("Relu", ["c1"], ["r1"], "relu1"),
        node("Conv", ["r1", "w2", "b2"], ["c2"], "second", pads=[1] * 4),
        node("Relu", ["c2"], ["r2"], "relu2"),
        node("Conv", ["r2", "w3", "b3"], ["c3"], "third", pads=[1] * 4),
        node("Relu", ["c3"], ["r3"], "relu3"),
        node("GlobalAveragePool", ["r3"], ["g"], "pool"),
        node("Flatten", ["g"], ["f"], "flat"),
        node("Gemm", ["f", "w4", "b4"], ["logits"], "head", transB=1),
    ]
    return _model("overflowing", nodes, weights, {"image": ["n", 16, 32, 32]}, {"logits": ["n", 10]})


T = TypeVar("T", bound=Workshop)
SUITE = """
suite: s
models:
  - name: weak
    source: weak.onnx
    backends: [onnxruntime-cpu]
    precisions: [{precision}]
    shapes: [{{n: 16}}]
    latency: {{enabled: false}}
    options: {{onnxruntime-cpu: {{graph_optimization: disable}}}}
    {more}
"""


def weak_suite(folder: Path, precision: str, more: str = "", model: ModelProto | None = None) -> tuple[Path, str]:
    """A suite of one case on that network in a root of its own; gives its file and the id of the case."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").touch()
    onnx.save(model or weak_net(), folder / "weak.onnx")
    path = folder / "suite.yaml"
    path.write_text(SUITE.format(precision=precision, more=more))
    return path, f"s/weak/onnxruntime-cpu/{precision}/n-16"


def weak_plan(folder: Path, precision: str, model: ModelProto | None = None, **changes: Any) -> Plan:
    """The plan of that case, for benches in this process."""
    onnx.save(model or weak_net(), folder / "weak.onnx")
    case = Case(f"s/weak/onnxruntime-cpu/{precision}/n-16", "s", "weak", "onnxruntime-cpu", precision, "n-16", (),
                Location("s.yaml", 3))  # fmt: skip
    made = replace(PLAN, case=case, source=Source("file", str(folder / "weak.onnx")), dimensions={"n": 16})
    return replace(made, latency=LatencyPlan(enabled=False), **changes)


@dataclass
class InProcess:
    """What `harness debug` asks of a bench, answered in this process, so that a test can break a backend."""

    folder: Path
    steps: list[str] = field(default_factory=list)

    def worker(self, kind: type[T]) -> T:
        """A worker's part."""
        (self.folder / "scratch").mkdir(exist_ok=True)
        return kind(self.folder / "cache", self.folder / "scratch", lambda _: None)

    def outcome(self, plan: Plan) -> Outcome:
        """As a worker measures it."""
        twin = self.folder / "twin"
        self.worker(Steps).twin(plan, twin)
        return self.worker(Steps).measure(plan, Path(self.reference(plan)), twin, None)

    def reference(self, plan: Plan) -> str:
        """Where the reference outputs are."""
        folder = self.folder / "reference"
        if not folder.exists():
            self.worker(Steps).reference(plan, folder)
        return str(folder)

    def debug(self, plan: Plan, step: str, **arguments: Any) -> Any:
        """One step, with its plan as it comes through a pipe."""
        self.steps.append(step)
        return encode(getattr(self.worker(Probes), step)(decode(Plan, encode(plan)), **arguments))

    def environment(self) -> Any:
        """This machine."""
        return describe()
