"""On a GPU that others use as well: what they spoil is measured again, and runs beside each other judge alike."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import onnx
import pytest

from harness.backends import BACKENDS
from harness.environment import describe
from harness.store import read_run
from models import conv_net
from quality.latency.cells import attention, convolutions

ABSENT = BACKENDS.load("onnxruntime-cuda")().why_not()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(ABSENT is not None, reason=str(ABSENT))]

SUITE = """
suite: shared
defaults:
  backends: [{backends}]
  options: {{onnxruntime-cuda: {{graph_optimization: {level}}}, tensorrt: {{optimization_level: 0}}}}
  attestation: {{min_share: 0}}
models:
"""
OTHER = """
import sys, time
from harness.backends.cuda import Stream
from harness.timing.spin import Spin
stream = Stream()
spin, until = Spin(stream.handle), time.monotonic() + float(sys.argv[1])
print("working", flush=True)
while time.monotonic() < until:
    spin.launch(100_000)
    stream.synchronize()
"""


def suite(folder: Path, level: str = "all", backends: str = "onnxruntime-cuda", **nets: onnx.ModelProto) -> Path:
    (folder / "pyproject.toml").touch()
    for name, net in nets.items():
        onnx.save(net, folder / f"{name}.onnx")
    path = folder / "shared.yaml"
    models = "".join(f"  - {{name: {name}, source: {name}.onnx}}\n" for name in nets)
    path.write_text(SUITE.format(level=level, backends=backends) + models)
    return path


def started(folder: Path, name: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness", "run", str(folder / "shared.yaml"), "-o", str(folder / name)]
    command += ["--artefacts", str(folder / "cache"), *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)


def ran(folder: Path, name: str, *options: str) -> dict[str, str]:
    process = started(folder, name, *options)
    print(process.communicate(timeout=500)[0])
    return statuses(folder / name)


def statuses(folder: Path) -> dict[str, str]:
    return {record.case.id: record.status for record in read_run(folder).records}


def accepted(folder: Path, name: str) -> None:
    command = [sys.executable, "-m", "harness", "accept", str(folder / name), "--reason", "a start", "--launches", "4"]
    subprocess.run([*command, "--artefacts", str(folder / "cache")], cwd=folder, check=True, timeout=500)


def test_launches_beside_another_process_are_replaced_and_it_is_named(tmp_path):
    suite(tmp_path, net=convolutions(64, 112, 2))
    ran(tmp_path, "first")
    accepted(tmp_path, "first")
    suite(tmp_path, "extended", net=convolutions(64, 112, 2))
    places = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-c", OTHER, "25"], stdout=subprocess.PIPE, text=True, env=places) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "working\n"
        ran(tmp_path, "beside")

    (record,) = read_run(tmp_path / "beside").records
    assert record.duel is not None
    spoiled = [launch for launch in record.duel.launches if launch.spoiled]
    print(record.headline, [launch.spoiled for launch in record.duel.launches])
    assert spoiled
    assert all(f"(process {other.pid})" in str(launch.spoiled) for launch in spoiled)
    assert record.status in {"passed", "inconclusive"}
    assert f"{len(spoiled)} spoiled" in record.headline


def test_two_runs_at_once_on_one_gpu_judge_as_one_alone(tmp_path):
    nets = {"deep": convolutions(64, 112, 3), "wide": convolutions(96, 112, 1), "words": attention(128, 256, 4)}
    suite(tmp_path, **nets)
    ran(tmp_path, "first")
    accepted(tmp_path, "first")
    suite(tmp_path, "extended", **nets)

    both = [started(tmp_path, name) for name in ("one", "two")]
    for process in both:
        print(process.communicate(timeout=500)[0])
    alone = ran(tmp_path, "alone")

    assert statuses(tmp_path / "one") == statuses(tmp_path / "two") == alone
    assert set(alone) == {f"shared/{name}/onnxruntime-cuda/fp32/static" for name in nets}


@pytest.mark.skipif(len(describe().gpus) < 2, reason="one GPU")
def test_a_run_over_all_gpus_judges_as_one_gpu_does(tmp_path):
    nets = {f"net{size}": convolutions(64, size, 2) for size in (64, 80, 96, 112)}
    nets |= {f"words{width}": attention(128, width, 3) for width in (128, 192, 256, 320)}
    nets["small"] = conv_net()
    suite(tmp_path, backends="onnxruntime-cuda, tensorrt", **nets)

    one = ran(tmp_path, "one", "--jobs", "1", "--no-cache")
    all_of_them = ran(tmp_path, "all", "--no-cache")

    took = {name: read_run(tmp_path / name) for name in ("one", "all")}
    for name, run in took.items():
        print(name, datetime.fromisoformat(run.finished) - datetime.fromisoformat(run.started))
    assert all_of_them == one
