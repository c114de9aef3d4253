"""clean: what ONNX Runtime's offline optimiser leaves of a graph at its portable level."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from harness.cache import Cache
from harness.errors import Unsupported
from harness.records import Plan
from harness.sources import Fetched
from harness.sources.inspect import ModelInfo
from harness.variants import Variant
from harness.variants.chains import Step
from harness.variants.graph import STANDARD, finish, load_model, nodes, save
from harness.variants.store import Made, kept


def clean(step: Step, plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant:  # noqa: ARG001
    """The model with constants folded, and what does nothing or is done twice left out; standard operators alone."""
    return kept(step.text, (fetched.sha256, "clean/1"), cache, lambda: make(fetched.model))


def make(path: Path) -> Made:
    """The cleaned model of a file, and notes on it."""
    model, notes = load_model(path)
    before = _counts(model)
    made = _optimised(model)
    foreign = sorted({node.domain for node in nodes(made)} - {*STANDARD} - {node.domain for node in nodes(model)})
    if foreign:
        raise Unsupported(f"cannot make the clean variant: ONNX Runtime put operators of {', '.join(foreign)} into it")
    _forget_unused_domains(made)
    finish(made, path)
    after = _counts(made)
    if before == after:
        raise Unsupported("cannot make the clean variant: nothing is left out, the graph is clean already")
    changes = f"without {_told(before - after)}, with {_told(after - before)} more"
    return made, (*notes, f"clean: {before.total()} nodes became {after.total()}: {changes}")


def _optimised(model: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # The levels above put in operators and layouts of ONNX Runtime's own
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save(model, folder, "model")
        options.optimized_model_filepath = str(folder / "clean.onnx")
        if (folder / "model.data").exists():
            options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "clean.data")
        onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        return onnx.load(str(folder / "clean.onnx"))


def _counts(model: Any) -> Counter[str]:
    return Counter(str(node.op_type) for node in nodes(model))


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {op}" for op, count in sorted(counts.items())) or "none"


def _forget_unused_domains(model: Any) -> None:
    """ONNX Runtime declares every domain that it knows."""
    used = {node.domain for node in nodes(model)} | {*STANDARD}
    kept_imports = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept_imports)
