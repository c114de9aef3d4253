"""The small projects that faults happen in, each with its undisturbed run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import onnx

from faults.place import Place
from faults.server import certificate, serving
from harness.records import Run
from harness.store import read_run
from models import conv_net
from toy import small_model

LIMIT_S = 90.0
TOY = """
suite: toy
defaults: {reference: {backend: fake, precision: fp32}, backends: [fake], precisions: [fp32],
  latency: {min_count: 20}, options: {fake: {script: script.yaml}}}
models:
  - {name: small, source: small.onnx, shapes: [{n: 1}, {n: 2}, {n: 3}, {n: 4}], serving: {offline: {}}}
"""
TWO = TOY.replace("{n: 1}, {n: 2}, {n: 3}, {n: 4}", "{n: 1}, {n: 2}")
NET = f"""{TWO}
  - name: net
    source: net.onnx
    backends: [onnxruntime-cpu]
    precisions: [fp32, fp16]
    shapes: [{{n: 2}}]
    reference: {{backend: onnxruntime-cpu, precision: fp32}}
    latency: {{enabled: false}}
"""
RTX = f"""{TWO}
  - {{name: net, source: net.onnx, backends: [tensorrt-rtx], precisions: [fp16], shapes: [{{n: 2}}],
     latency: {{enabled: false}}}}
"""
URL = f"""{TWO}
  - {{name: far, source: "https://localhost:PORT/far.onnx", sha256: SHA256, shapes: [{{n: 3}}]}}
"""
TIMED = (
    "cases: [{match: '*/n-2', latency_ms: {measured: LATENCY}, canary_ms: 0.5}, {latency_ms: 2.0, canary_ms: 0.5}]\n"
)
SUITES = {"toy": TOY, "net": NET, "rtx": RTX, "url": URL, "timed": TWO}
QUIET = "cases: [{latency_ms: [1.0, 1.01]}]\n"


@dataclass(frozen=True)
class Base:
    """A project, and its undisturbed run."""

    place: Place
    run: Run
    status: int


def make(kind: str, folder: Path) -> Base:
    """Write a project and run it undisturbed; AssertionError when that does not come to its end."""
    place = Place(folder)
    for name in ("project", "tmp", "locks"):
        (folder / name).mkdir(parents=True)
    project = place.project
    (project / "pyproject.toml").touch()
    (project / "script.yaml").write_text(QUIET)
    small_model(project / "small.onnx")
    onnx.save(conv_net(), project / "net.onnx")
    (project / f"{kind}.yaml").write_text(SUITES[kind])
    if kind == "timed":
        _accept(place)
    if kind == "url":
        return _from_afar(place)
    return Base(place, *_run(place, kind))


def _run(place: Place, kind: str) -> tuple[Run, int]:
    process = place.start([f"{kind}.yaml", "-o", "out", "--artefacts", "cache"])
    status = process.wait(LIMIT_S)
    log = (place.folder / "log").read_text()
    assert status in (0, 1), f"the undisturbed run of {kind} ended with {status}: {log}"
    return read_run(place.project / "out"), status


def _accept(place: Place) -> None:
    """Six accepted runs, so that a slower case is measured again in fresh processes before it may fail."""
    project = place.project
    (project / "script.yaml").write_text(TIMED.replace("LATENCY", "[1.0]"))
    run, _ = _run(place, "timed")
    text = json.loads((project / "out" / "run.json").read_text())
    names = [f"accepted-{number}" for number in range(6)]
    for name in names:
        (project / name).mkdir()
        (project / name / "run.json").write_text(json.dumps({**text, "id": f"{run.id}-{name}"}))
    command = ["accept", *names, "--reason", "a start", "--artefacts", "cache"]
    done = subprocess.run(
        [sys.executable, "-m", "harness", *command],
        cwd=project, env=place.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in (*names, "out"):
        shutil.rmtree(project / name)
    (project / "script.yaml").write_text(TIMED.replace("LATENCY", "[1.08, 1.1, 1.06]"))


def _from_afar(place: Place) -> Base:
    certificate(place.folder)
    with serving(place, "whole"):
        base = Base(place, *_run(place, "url"))
    shutil.rmtree(place.cache / "downloads")
    return base
