"""Digests of what a run stands on: of its plans, the files that they name, and the harness itself."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection
from dataclasses import replace
from hashlib import sha256
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import harness
from harness.codec import compact, encode
from harness.metrics.plugins import GROUP
from harness.records import InputSpec, Plan


def plan_digest(plan: Plan) -> str:
    """SHA-256 of what was measured rather than judged; stored measurements hold for plans with the same one.

    Files count by their place beside the suite, so that a run can be judged again in another checkout.
    """
    task = plan.task and _without_none(replace(plan.task, min=None, max_drop=None, max=None, max_rise=None))
    suite = Path(plan.case.location.file).absolute().parent
    parts = (
        _source(plan),
        plan.profile,
        _ranges(plan),
        plan.fuzzed,
        plan.files,
        plan.dimensions,
        {name: _as_declared(spec) for name, spec in plan.inputs.items()},
        plan.calibration and _without_none(plan.calibration),
        plan.reference,
        task,
        plan.options,
        replace(plan.fidelity, slack=1.0, required=False),
        plan.builds,
        *([plan.against.name] if plan.against else []),
        *([plan.flip.axes] if plan.flip else []),
        *([_without_none(plan.serving.unlimited(), ("video",))] if plan.serving else []),
    )
    text = json.dumps([_beside_suite(encode(part), suite) for part in parts], sort_keys=True)
    return sha256(text.encode()).hexdigest()


def _as_declared(spec: InputSpec) -> dict[str, Any]:
    """An input without the versions that decode it here: another machine judges what this one measured."""
    return _without_none(replace(spec, preparation=spec.preparation and replace(spec.preparation, versions={})))


LATER = ("preparation", "labels_input", "raw", "max", "max_rise", "tokens", "stride")


def _without_none(record: Any, later: Collection[str] = LATER) -> dict[str, Any]:
    """A record without fields that it did not always have, where they say nothing: old runs keep their digests."""
    return {name: value for name, value in vars(record).items() if value is not None or name not in later}


def _source(plan: Plan) -> dict[str, Any]:
    """Where the model comes from; what only models of frameworks have is left out of all others."""
    return _without_none(replace(plan.source, sha256=None), ("beside", "export", "made"))


def _ranges(plan: Plan) -> dict[str, tuple[int, int, int]]:
    """Smallest, last and largest size of every dimension without a profile of the suite's: the engine's range."""
    sizes: dict[str, list[int]] = {}
    for shape in plan.shapes:
        for dim in shape.keys() - (plan.profile or {}).keys():
            sizes.setdefault(dim, []).append(shape[dim])
    return {dim: (min(found), found[-1], max(found)) for dim, found in sizes.items()}


def _beside_suite(value: Any, suite: Path) -> Any:
    if isinstance(value, dict):
        return {key: _beside_suite(item, suite) for key, item in value.items()}
    if isinstance(value, list):
        return [_beside_suite(item, suite) for item in value]
    return os.path.relpath(value, suite) if isinstance(value, str) and value.startswith("/") else value


LARGEST_BYTES = 64 << 20
"""Of larger files only the size counts: that a model is another one shows when it is measured again."""
_PATHS = re.compile(r'"(/(?:[^"\\]|\\.)*)"')


def code_digest() -> str:
    """SHA-256 of the harness's own sources, and of the names and versions of installed metrics."""
    found = sha256()
    home = Path(harness.__file__).parent
    for file in sorted(home.rglob("*.py")):
        found.update(f"{file.relative_to(home)}\n".encode() + file.read_bytes())
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        found.update(f"{entry.name} {entry.value} {entry.dist.version if entry.dist else ''}\n".encode())
    return found.hexdigest()


def said(plan: Plan) -> str:
    """Everything that a plan says, as text; where it stands in which file does not count."""
    here = {
        "case": [plan.case.id, plan.case.tags],
        "interpreter": plan.interpreter.name,  # it is known by its versions
        "exporter": plan.exporter.name,
        "against": plan.against and plan.against.name,
    }
    return compact({**vars(plan), **here})


def paths_in(text: str) -> list[str]:
    """What looks like an absolute path in JSON text, as it stands there."""
    return _PATHS.findall(text)


def files_at(path: str, root: Path) -> list[Path]:
    """The file of such a path, or all files of the folder, where it is below the root."""
    try:
        place = Path(json.loads(f'"{path}"')).resolve()
    except (OSError, ValueError):  # it only looks like a path
        return []
    if place == root or not place.is_relative_to(root):
        return []
    return [file for file in ([place] if place.is_file() else place.rglob("*")) if file.is_file()]


def content(file: Path) -> str:
    """The SHA-256 of a file, or the size of a large one."""
    size = file.stat().st_size
    return f"{size} bytes" if size > LARGEST_BYTES else file_digest(file) or "unreadable"


def file_digest(file: Path) -> str | None:
    """SHA-256 of a file; None where there is none."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None
