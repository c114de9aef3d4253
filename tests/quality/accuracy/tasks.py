"""The single steps of the count, each able to run in a process of its own; results pass as files."""

from __future__ import annotations

import pickle
import time
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from quality.accuracy import measure
from quality.accuracy.defects import DEFECTS, Defect
from quality.accuracy.job import Job, failed, fidelity, job, unfit
from quality.accuracy.models import models
from quality.accuracy.paths import CPU, GPU, Outputs, Route, execute
from quality.accuracy.rules import RULES

Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One run that is judged: a healthy one (`defect` None) or one with a defect, in one of its places (`draw`)."""

    model: str
    precision: str
    route: str
    defect: int | None = None
    draw: int = 0

    @property
    def unit(self) -> str:
        """The model at its precision."""
        return f"{self.model}.{self.precision}"


def built_of(name: str) -> Any:
    """A model by its name, replicas too."""
    replica = int(name.partition("-")[2] or 0)
    return models(replica)[name]()


def routes(precision: str) -> dict[str, Route]:
    """Every route of a precision by name."""
    return {route.name: route for route in (*CPU[precision], *GPU)}


def prepare(place: str, model: str, precision: str) -> str | None:
    """Writes the job of a model at a precision; what went wrong, if it did."""
    folder = Path(place)
    try:
        made = job(built_of(model), precision, folder / "models")
    except Exception as error:
        return f"{model}.{precision}: {type(error).__name__}: {error}"
    if made is None:
        return f"{model}.{precision}: no variant"
    (folder / f"{model}.{precision}.job").write_bytes(pickle.dumps(made))
    return None


@lru_cache(maxsize=8)
def _job(file: Path) -> Job:
    made: Job = pickle.loads(file.read_bytes())
    return made


def healthy_file(place: Path, unit: str, route: str) -> Path:
    """Where the outputs of a healthy run are."""
    return place / f"{unit}.{route}.npz"


@lru_cache(maxsize=64)
def load(file: Path) -> Outputs:
    """Outputs from a file."""
    with np.load(file) as arrays:
        return {name: arrays[name] for name in arrays.files}


def run_healthy(place: str, task: Task) -> str | None:
    """Writes the outputs of a run without a defect; what went wrong, if it did."""
    one = _job(Path(place) / f"{task.unit}.job")
    try:
        outputs = _execute(one, task, one.variant.model)
    except Exception as error:
        return f"{task.unit}.{task.route}: {type(error).__name__}: {error}"
    arrays: dict[str, Any] = dict(outputs)
    np.savez(healthy_file(Path(place), task.unit, task.route), **arrays)
    return None


def spreads(place: Path, unit: str) -> dict[str, float]:
    """How far the healthy runs of a model at a precision are from each other."""
    found = sorted(place.glob(f"{unit}.*.npz"))
    return measure.spread(_job(place / f"{unit}.job").reference, [load(file) for file in found])


def judge(place: str, task: Task, spread: dict[str, float], keep: str | None) -> Row | None:
    """What every rule says of a run; None where the defect does not apply to the model."""
    start = time.perf_counter()
    folder = Path(place)
    one = _job(folder / f"{task.unit}.job")
    healthy = load(healthy_file(folder, task.unit, task.route))
    defect = None if task.defect is None else DEFECTS[task.defect]
    row: Row = {
        "model": task.model,
        "precision": task.precision,
        "path": task.route,
        "family": defect.family if defect else "healthy",
        "strength": defect.strength if defect else "",
        "draw": task.draw,
    }
    try:
        outputs = healthy if defect is None else _defective(folder, one, task, defect, healthy)
    except Exception as error:
        return {**row, "error": f"{type(error).__name__}: {error}"[:500]}
    if outputs is None:
        return None
    if keep is not None:
        _keep(Path(keep), task, row, outputs)
    return {**row, **_verdicts(one, outputs, healthy, spread), "seconds": round(time.perf_counter() - start, 3)}


def _defective(folder: Path, one: Job, task: Task, defect: Defect, healthy: Outputs) -> Outputs | None:
    seed = zlib.crc32(f"{task.model} {defect.family} {task.draw}".encode())  # strengths share their place
    rng = np.random.default_rng(seed)
    if defect.outputs is not None:
        return defect.outputs(healthy, rng)
    if defect.instead is not None:
        unit = f"{task.model}.{defect.instead}"
        same = healthy_file(folder, unit, task.route)
        other = [healthy_file(folder, unit, route.name) for route in CPU[defect.instead]]
        return next((load(file) for file in (same, *other) if file.exists()), None)
    assert defect.apply is not None
    changed = defect.apply(one.variant.model, rng)
    if changed is None:
        return None
    return _execute(one, task, changed)


def _execute(one: Job, task: Task, model: Any) -> Outputs:
    return execute(routes(task.precision)[task.route], model, task.precision, one.built.feeds)


def _verdicts(one: Job, outputs: Outputs, healthy: Outputs, spread: dict[str, float]) -> Row:
    effects = measure.effects(outputs, healthy, spread)
    checks = fidelity(one, outputs)
    return {
        "effect": max(effects.values()),
        "effects": effects,
        "cost_times": measure.cost_times(one, outputs, healthy),
        "identical": all(value == 0 for value in effects.values()),
        "verdicts": {name: rule(one, outputs) for name, rule in RULES.items()},
        "failed": [check.name for check in failed(checks)],
        "distances": {check.name: check.value for check in checks if check.metric.startswith("twin_")},
        "unfit": unfit(one),
        "statistics": measure.statistics(one, outputs),
    }


def _keep(folder: Path, task: Task, row: Row, outputs: Outputs) -> None:
    words = [task.unit, task.route, row["family"], row["strength"], str(task.draw)]
    name = "_".join("".join(c if c.isalnum() or c in "-.%" else "-" for c in word) for word in words)
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = dict(outputs)
    np.savez_compressed(folder / f"{name}.npz", **arrays)
