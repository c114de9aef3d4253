"""The variant files of the models, made by the harness's own functions, so that the count judges what users get."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

import plans
from harness.cache import Cache
from harness.errors import CaseError
from harness.records import Calibration, Plan, Source
from harness.sources.inspect import inspect
from harness.sources.local import file
from harness.variants.prepare import prepare
from quality.accuracy.models import CALIBRATION_ROWS, ROWS, Built

PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8")


@dataclass(frozen=True)
class VariantFile:
    """One model at one precision."""

    model: ModelProto
    path: Path
    plan: Plan
    notes: tuple[str, ...]


def plan_of(built: Built, precision: str, folder: Path) -> Plan:
    """The plan of a case on 64 rows; the model and its calibration data are written to `folder` first."""
    folder.mkdir(parents=True, exist_ok=True)
    path, data = folder / f"{built.name}.onnx", folder / f"{built.name}.npz"
    if not path.exists():
        path.write_bytes(built.model.SerializeToString())
        arrays: dict[str, Any] = dict(built.calibration)
        np.savez(data, **arrays)
    (key,) = built.calibration
    dimensions = {"n": ROWS}
    calibration = Calibration(str(data), key, CALIBRATION_ROWS)
    source = Source("file", str(path))
    return plans.plan(precision, source=source, dimensions=dimensions, shapes=(dimensions,), calibration=calibration)


def variant(built: Built, precision: str, folder: Path) -> VariantFile | None:
    """The file of a precision, kept in `folder`; None where the harness refuses to make one."""
    plan = plan_of(built, precision, folder)
    path = Path(plan.source.path)
    try:
        made = prepare(plan, file(plan.source, folder), inspect(path), Cache(folder))
    except CaseError as error:
        print(f"{built.name} {precision}: {error}")
        return None
    return VariantFile(onnx.load(str(made.path)), made.path, plan, made.notes)
