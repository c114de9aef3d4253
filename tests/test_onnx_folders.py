"""The test folders that the onnx package carries, through one suite by glob."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import onnx
import pytest

from harness.store import read_run
from toy import harness

DATA = Path(onnx.__file__).parent / "backend/test/data"
FOLDERS = """
suite: onnx-folders
defaults:
  latency: {enabled: false}
  precisions: [as-is]
models:
  - {name: simple, source: simple/*}
  - {name: operator, source: pytorch-operator/*}
  - {name: converted, source: pytorch-converted/*}
"""
LIGHT = """
suite: onnx-light
models:
  - {name: light, source: "light/light_[rs]*.onnx", latency: {enabled: false}}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def test_every_folder_is_compared_with_its_stored_outputs_or_skipped_with_a_reason(folder):
    for name in ("simple", "pytorch-operator", "pytorch-converted"):
        shutil.copytree(DATA / name, folder / name)
    (folder / "folders.yaml").write_text(FOLDERS)

    assert harness(folder, "run", "folders.yaml", "-o", "out") == 0

    records = read_run(folder / "out").records
    statuses = Counter(record.status for record in records)
    assert set(statuses) == {"new", "skipped"}
    assert len(records) == 140
    assert statuses["new"] >= 95
    for record in records:
        if record.status == "skipped":
            assert "not supported yet" in record.headline or "[ONNXRuntimeError]" in record.headline
        else:
            assert any(check.question == "budget" for check in record.checks)


def test_light_models_run_as_plain_files(folder):
    """Three of nine: ResNet-50, ShuffleNet and SqueezeNet; the others take a minute more."""
    shutil.copytree(DATA / "light", folder / "light")
    (folder / "light.yaml").write_text(LIGHT)

    assert harness(folder, "run", "light.yaml", "-o", "out") == 0

    assert [record.status for record in read_run(folder / "out").records] == ["new"] * 3
